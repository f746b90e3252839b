"""What changes with the number of ranks: bytes, collectives, shares of a step, and the ticket; and 8 GPUs predicted.

    UGTS_DATA=DATA python benchmarks/scaling.py STORE    # measures, and writes benchmarks/results/scaling.json
    python benchmarks/scaling.py --predict               # from that file: the tables of docs/scaling.md

GraphSAGE, UGTs, gloo, one thread a rank, each rank pinned to its share of the cores. Strong scaling: `--batch` seeds
over all ranks; weak scaling: so many seeds a rank that 4 ranks have `--batch`. Seconds of the CPU, which each rank has
spent itself, compare rank counts that share cores; seconds of the clock do not. Some steps are timed, others counted.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from collective_volume import CollectiveVolume, socket_bytes
from marked_section import replace_section
from rank_record import RankRecord, write_record
from scaling_tables import STEPS_ON_A_GPU, measured_tables, predicted_tables
from torch.utils.flop_counter import FlopCounterMode

from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.store import open_store
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import NodeTask, make_task
from ugts_dist.training.trainer import Trainer, make_trainer

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "scaling.json"
PAGE = HERE.parent / "docs" / "scaling.md"
_EPOCHS = 10_000  # more than are ever begun
_COUNTED = 2  # steps
_QUIET = 0.2  # seconds until what a collective has sent is counted by all sockets
_SPARSITY = 0.5


def main() -> None:
    options = _arguments()
    if options.predict:
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        replace_section(PAGE, "measured", measured_tables(results))
        replace_section(PAGE, "predicted", predicted_tables(results))
    elif options.out is not None:
        _rank(options)
    else:
        results = _measured(options)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(measured_tables(results))


def _measured(options: argparse.Namespace, presets: Iterable[str] = tuple(STEPS_ON_A_GPU)) -> dict[str, Any]:
    """The figures of all runs: by kind of scaling, one entry for each number of ranks."""
    graph = open_store(options.store)
    batches = {"strong": lambda _: options.batch, "weak": lambda count: options.batch // 4 * count}
    known: dict[tuple[int, int], dict[str, Any]] = {}  # the run with 4 ranks is that of both kinds
    scaling: dict[str, list[dict[str, Any]]] = {}
    for kind, batch_of in batches.items():
        for count in options.ranks:
            run = count, batch_of(count)
            if run not in known:
                known[run] = _together(_run(*run, options)) | {"batch": run[1]}
                print(f"{kind}, {count} rank(s): {known[run]['seconds']:.2f} s a step", file=sys.stderr)
            scaling.setdefault(kind, []).append(known[run])
    return {
        "graph": graph.name,
        "nodes": graph.num_nodes,
        "edges": graph.num_edges,
        "train": graph.train.numel(),
        "fan_out": options.fan_out,
        "width": options.width,
        "steps": options.steps,
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "operations": {preset: _operations(preset) for preset in presets},
        **scaling,
    }


def _operations(preset: str) -> int:
    """Operations of torch in a full-batch step of a preset, whose time on a GPU is known."""
    config = load_preset(preset)
    training = make_trainer(config, make_task(load_graph(config), config), Ranks())
    batch, volume = next(training.batches.epoch(0)), CollectiveVolume()
    training.step(batch, _SPARSITY)  # the first one makes Adam's moments
    with volume:
        training.step(batch, _SPARSITY)
    return sum(volume.operations.values())


def _run(count: int, batch: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every rank's figures of one torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command += [__file__, str(options.store), "--out", folder, "--batch", str(batch)]
        command += ["--steps", str(options.steps), "--width", str(options.width)]
        command += ["--fan-out", *map(str, options.fan_out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{count} rank(s) failed:\n{done.stderr}")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(count)]


def _together(ranks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One figure for all ranks: means, and what all must have in common."""
    first = ranks[0]
    for common in ("ticket", "collectives"):
        assert all(rank[common] == first[common] for rank in ranks), f"ranks differ in {common}"
    means = ["seconds", "threshold_seconds", "cpu", "loading_cpu", "threshold_cpu", "seeds", "nodes", "edges"]
    means += ["flops", "moved", "operations", "loading_operations", "sent", "sockets"]
    return {
        "ranks": len(ranks),
        **{name: statistics.fmean(rank[name] for rank in ranks) for name in means},
        **{name: first[name] for name in ("ticket", "collectives", "steps_per_epoch", "scores")},
    }


def _rank(options: argparse.Namespace) -> None:
    """One rank of a run."""
    torch.set_num_threads(1)
    with ranks_from_environment("cpu") as ranks:
        cores = sorted(os.sched_getaffinity(0))
        share = cores[ranks.rank * len(cores) // ranks.world_size :][: max(1, len(cores) // ranks.world_size)]
        os.sched_setaffinity(0, share)
        record = RankRecord()
        training = make_trainer(_config(options), NodeTask(open_store(options.store)), ranks)
        batches = itertools.chain.from_iterable(map(training.batches.epoch, range(_EPOCHS)))
        figures = _timed(training, batches, record, options.steps)
        figures |= _counted(training, batches, ranks)
        training.mask(_SPARSITY)
        path = options.out / f"{ranks.rank}.ticket"
        Ticket.of(training.method.mask).save(path)  # type: ignore[attr-defined]
        figures["ticket"] = hashlib.sha256(path.read_bytes()).hexdigest()
        figures["steps_per_epoch"] = training.batches.steps_per_epoch
        figures["scores"] = sum(score.numel() for score in training.method.trained().values())
        write_record(record, options.out, figures)


def _timed(training: Trainer, batches: Iterator[Any], record: RankRecord, steps: int) -> dict[str, Any]:
    """Medians over steps, in seconds of the clock and of this process."""
    columns: dict[str, list[float]] = {}
    ended, cpu = time.perf_counter(), time.process_time()
    for batch in record.steps(batches, steps):
        begins = {"threshold_cpu": time.process_time(), "threshold_seconds": time.perf_counter()}
        training.mask(_SPARSITY)
        marks = {"threshold_cpu": time.process_time(), "threshold_seconds": time.perf_counter()}
        training.step(batch, _SPARSITY)
        now, spent = time.perf_counter(), time.process_time()
        row = {"seconds": now - ended, "cpu": spent - cpu, "loading_cpu": begins["threshold_cpu"] - cpu}
        row |= {name: mark - begins[name] for name, mark in marks.items()}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        ended, cpu = now, spent
    return {name: statistics.median(values[-steps:]) for name, values in columns.items()}


def _counted(training: Trainer, batches: Iterator[Any], ranks: Ranks) -> dict[str, Any]:
    """What some steps compute and send, in the mean."""
    volume, flops = CollectiveVolume(), FlopCounterMode(display=False)
    sizes: dict[str, list[int]] = {"seeds": [], "nodes": [], "edges": []}
    before = _settled(ranks)
    for _ in range(_COUNTED):
        with flops, volume:
            with volume.part("loading"):
                batch = next(batches)
            with volume.part("threshold"):
                training.mask(_SPARSITY)
            with volume.part("gradients"):
                training.step(batch, _SPARSITY)
        sizes["seeds"].append(batch.y.numel())
        sizes["nodes"].append(batch.nodes.numel())
        sizes["edges"].append(sum(block.indices.numel() for block in batch.blocks))
    calls = [(call.part, call.name, call.payload, call.sent(ranks.world_size)) for call in volume.collectives]
    loading = volume.operations.get("loading", 0)
    return {
        **{name: statistics.fmean(values) for name, values in sizes.items()},
        "collectives": calls[: len(calls) // _COUNTED],
        "sent": sum(call[-1] for call in calls) / _COUNTED,
        "sockets": (_settled(ranks) - before) / _COUNTED,
        "flops": flops.get_total_flops() / _COUNTED,
        "moved": (sum(volume.moved.values()) - volume.moved.get("loading", 0)) / _COUNTED,
        "operations": (sum(volume.operations.values()) - loading) / _COUNTED,
        "loading_operations": loading / _COUNTED,
    }


def _settled(ranks: Ranks) -> int:
    """What the sockets have sent when nothing is on its way any more."""
    if ranks.process_group is not None:
        dist.barrier()
    time.sleep(_QUIET)
    return socket_bytes()


def _config(options: argparse.Namespace) -> Config:
    return Config().replace(
        {
            "model.arch": "sage",
            "model.depth": len(options.fan_out),
            "model.width": options.width,
            "supermask.sparsity": _SPARSITY,
            "optim.lr": 0.003,
            "batch.size": options.batch,
            "batch.fan_out": options.fan_out,
            "batch.threads": 0,
            "run.epochs": _EPOCHS,
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?", help="folder of the graph store")
    parser.add_argument("--predict", action="store_true", help="write the tables of docs/scaling.md")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=1024, help="seeds a step over all ranks, for strong scaling")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[15, 10, 5], help="seed nodes' own first")
    parser.add_argument("--width", type=int, default=256, help="between the layers")
    parser.add_argument("--steps", type=int, default=5, help="that are timed, after the warm-up")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.predict and options.store is None:
        parser.error("the store is missing")
    return options


if __name__ == "__main__":
    main()
