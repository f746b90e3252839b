"""A ticket search on a large graph, epoch by epoch: seconds, where they go, and memory of all ranks together.

    export THP_MEM_ALLOC_ENABLE=1 OMP_NUM_THREADS=1
    torchrun --standalone --nproc_per_node=2 benchmarks/large_graph.py STORE --arch sage --width 256
    torchrun --standalone --nproc_per_node=2 benchmarks/large_graph.py STORE --arch gcn --width 448
    python benchmarks/large_graph.py STORE --arch gcn --width 448 --batch 0 --trace trace.json   # full batch, on a GPU

The first variable has torch take huge pages, as the `ugts` program does. On a GPU the same: the graph is placed on it
where it fits. Memory is the proportional set size, summed over ranks: a page that several ranks share, of the store or
of an evaluation's tables, counts once. `--trace` keeps a profile of three steps, which shows every wait of the host
for the device.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from side_by_side import machine, table
from torch.profiler import ProfilerActivity, profile

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment
from ugts_dist.graphs.store import open_store
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import Trainer, make_trainer

_STEPS_PROFILED = 3
_KINDS = {  # what the names of torch's operations mean
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_"),
    "sparse products": ("aten::_embedding_bag", "aten::_embedding_bag_forward_only", "aten::_sparse_mm"),
    "activations": ("aten::clamp_min_", "aten::threshold_backward", "aten::relu_"),
    "gathers": ("aten::index_select", "aten::index", "aten::_index_put_impl_"),
}


class Watch:
    """Peaks of this process's memory, by phase."""

    def __init__(self, every: float = 0.5) -> None:
        self.peaks: dict[str, int] = {}
        self._phase, self._every = "start", every
        threading.Thread(target=self._run, daemon=True).start()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside belongs to a phase."""
        self._phase = name
        yield
        self._look()

    def _run(self) -> None:
        while True:
            self._look()
            time.sleep(self._every)

    def _look(self) -> None:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                size = int(line.split()[1]) * 1024
                self.peaks[self._phase] = max(self.peaks.get(self._phase, 0), size)


def main() -> None:
    options = _arguments()
    started = time.perf_counter()
    watch = Watch()
    with ranks_from_environment(options.device) as ranks:
        graph, config = open_store(options.store), _config(options)
        task = NodeTask(graph)
        with watch.phase("training"):
            training = make_trainer(config, task, ranks)
            ready = time.perf_counter() - started
            seconds = []
            for epoch in range(options.epochs):
                seconds.append(_timed(ranks, partial(training.epoch, epoch, options.sparsity, options.lr)))
                training.progress.next_epoch()
            kinds = _profiled(training, config, ranks, options.trace) if options.profile else {}
        with watch.phase("evaluation"):
            evaluator = task.evaluator(config, ranks)
            measured: list[Any] = []
            loss = torch.zeros((), device=ranks.device)
            evaluating = _timed(ranks, lambda: measured.append(evaluator.measure(training.method.model, loss)))
        peaks = {name: sum(ranks.all_gather_object(watch.peaks[name])) for name in ("training", "evaluation")}
        if not ranks.is_main:
            return
        steps = len(range(0, graph.train.numel(), config.batch.size)) if config.batch.size else 1
        print(
            f"{graph.name}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges; {ranks.world_size} ranks, "
            f"{machine(ranks.device.type)}"
        )
        model = f"{options.arch} {options.depth} x {options.width}"
        print(f"{model}, batch {config.batch.size}, sparsity {options.sparsity}\n")
        rows = [
            ["from the end of the imports to the first step, s", f"{ready:.1f}"],
            [f"an epoch ({steps} steps), s", ", ".join(f"{s:.2f}" for s in seconds)],
            ["the fastest epoch, s", f"{min(seconds):.2f}"],
            ["seeds/s", f"{graph.train.numel() / min(seconds):.0f}"],
            ["exact evaluation of all nodes, s", f"{evaluating:.2f}"],
            ["memory of all ranks, training, GiB", f"{peaks['training'] / 2**30:.2f}"],
            ["memory of all ranks, evaluation, GiB", f"{peaks['evaluation'] / 2**30:.2f}"],
            ["validation accuracy", f"{measured[0][0]['valid']:.4f}"],
        ]
        if ranks.device.type == "cuda":
            rows.append(["peak on the GPU, GiB", f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"])
        rows += [[f"share of a step: {name}", f"{share:.0%}"] for name, share in kinds.items()]
        print(table(["", "measured"], rows))


def _timed(ranks: Ranks, action: Callable[[], object]) -> float:
    ranks.barrier()
    begin = time.perf_counter()
    action()
    if ranks.device.type == "cuda":
        torch.cuda.synchronize()
    ranks.barrier()
    return time.perf_counter() - begin


def _profiled(training: Trainer, config: Config, ranks: Ranks, trace: Path | None) -> dict[str, float]:
    """Shares of the time of some steps: waiting for batches, then the kinds of operations."""
    batches = training.batches.epoch(config.run.epochs - 1)
    loading = 0.0
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (ranks.device.type == "cuda")
    begin = time.perf_counter()
    with profile(activities=activities) as profiled:
        for _ in range(min(_STEPS_PROFILED, training.batches.steps_per_epoch)):
            waiting = time.perf_counter()
            batch = next(batches)
            loading += time.perf_counter() - waiting
            training.step(batch, config.supermask.sparsity)
    total = time.perf_counter() - begin
    if trace is not None and ranks.is_main:
        profiled.export_chrome_trace(str(trace))
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}
    shares = {kind: sum(spent.get(name, 0.0) for name in names) / total for kind, names in _KINDS.items()}
    return {"waiting for batches": loading / total, **shares}


def _config(options: argparse.Namespace) -> Config:
    sampled = options.batch > 0
    return Config().replace(
        {
            "model.arch": options.arch,
            "model.depth": options.depth,
            "model.width": options.width,
            "supermask.method": options.method,
            "supermask.sparsity": options.sparsity,
            "supermask.output_rms": 1.0,
            "optim.lr": options.lr,
            "optim.precision": options.precision,
            "batch.size": options.batch,
            "batch.fan_out": options.fan_out if sampled else [],
            "run.epochs": options.epochs + 1,
            "run.spill": options.spill,
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the graph store")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--arch", default="sage")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2048, help="seeds a step over all ranks; 0: full batch")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--method", default="ugts")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--spill", default="", help="folder for the layers' outputs of an evaluation")
    parser.add_argument("--profile", action="store_true", help="where the time of a step goes")
    parser.add_argument("--trace", type=Path, help="file for a profile of some steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
