"""Peak memory of training and evaluation of some presets, each in a process of its own.

On a CPU: the peak of the resident memory beyond what is resident when the graph is loaded (Linux only). On a GPU: the
most that torch has allocated there. Beside it: what frozen weights, scores and moments take as such.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from side_by_side import machine, table

from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.configured import load_graph
from ugts_dist.tasks import make_task
from ugts_dist.training.trainer import make_trainer

PRESETS = ("cora-gcn", "cora-gcn-deep", "cora-gat-deep")
_FLOATS = 4  # of each weight: the weight itself, its score, and Adam's two moments
_STEPS = 3


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    if options.child:
        print(json.dumps(_measured(options.presets[0], options.root, torch.device(options.device))))
        return
    rows = [[preset, *_mebibytes(_of_child(preset, options))] for preset in options.presets]
    print(f"{_STEPS} steps, then an evaluation of all nodes; {machine(options.device)}\n")
    print(table(["MiB", "training", "with evaluation", "weights, scores and moments"], rows))


def _of_child(preset: str, options: argparse.Namespace) -> dict[str, int]:
    command = [
        sys.executable,
        str(Path(__file__)),
        preset,
        "--device",
        options.device,
        "--root",
        options.root,
        "--child",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measured(preset: str, root: str, device: torch.device) -> dict[str, int]:
    """Peaks in bytes."""
    config = load_preset(preset).replace({"data.root": root, "run.device": device.type})
    task, ranks = make_task(load_graph(config), config), Ranks(device=device)
    before = _reset_peak(device)
    training = make_trainer(config, task, ranks)
    batch = next(training.batches.epoch(0))
    for _ in range(_STEPS):
        training.step(batch, config.supermask.sparsity)
    trained = _peak(device) - before
    loss = torch.zeros((), device=device)
    task.evaluator(config, ranks).measure(training.method.model, loss)
    parameters = sum(tensor.numel() for tensor in training.method.trained().values())
    return {"training": trained, "evaluation": _peak(device) - before, "state": 4 * _FLOATS * parameters}


def _reset_peak(device: torch.device) -> int:
    """Forget the peak so far. Returns the memory at this moment, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: torch.device) -> int:
    """The most memory since the peak was forgotten, in bytes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _mebibytes(figures: dict[str, int]) -> list[str]:
    return [f"{figures[name] / 2**20:,.0f}" for name in ("training", "evaluation", "state")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
