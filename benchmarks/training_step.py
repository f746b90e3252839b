"""Milliseconds of one full-batch training step of some presets, and on a GPU how many kernels the host starts for it.

A step is what `fit` does: threshold, forward, backward, Adam. Where it takes longer than its kernels, the host that
starts them is the limit, and their number counts.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from side_by_side import machine, table
from torch.profiler import ProfilerActivity, profile

from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.configured import load_graph
from ugts_dist.tasks import make_task
from ugts_dist.training.trainer import Trainer, make_trainer

PRESETS = ("cora-gcn", "cora-gat", "cora-gin", "cora-gcn-deep", "cora-gat-deep")
_SPARSITY = 0.3


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rows = [[preset, *_measured(preset, options.root, options.steps, device)] for preset in options.presets]
    print(f"Median of {options.steps} steps (least to most); {machine(options.device)}\n")
    print(table(["", "ms a step", "kernels started"], rows))


def _measured(preset: str, root: str, steps: int, device: torch.device) -> tuple[str, str]:
    config = load_preset(preset).replace({"data.root": root})
    training = make_trainer(config, make_task(load_graph(config), config), Ranks(device=device))
    batch = next(training.batches.epoch(0))
    seconds = []
    for _ in range(3 + steps):
        begin = time.perf_counter()
        training.step(batch, _SPARSITY)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(1000 * (time.perf_counter() - begin))
    taken = seconds[3:]
    return (
        f"{statistics.median(taken):.1f} ({min(taken):.1f} to {max(taken):.1f})",
        str(_kernels(training, batch)) if device.type == "cuda" else "",
    )


def _kernels(training: Trainer, batch: object) -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        training.step(batch, _SPARSITY)
        torch.cuda.synchronize()
    return sum(event.count for event in profiled.key_averages() if "LaunchKernel" in event.key)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=20, help="that are timed, after three others")
    parser.add_argument("--threads", type=int, default=4, help="of torch, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
