"""A full-batch epoch with evaluation: ours beside the paper's own loop, in alternation.

Ours is a whole `fit`, as `ugts train` runs it: thresholds, forward, backward, Adam, evaluation at the final sparsity,
metrics.jsonl and the saved tickets; once in the paper's setting (`cora-gcn-paper`, the same work as the paper's loop)
and once in ours (`cora-gcn`, with dropout and rescaling). The other is `paper_loop.py`. Seconds of setting up are left
out on all sides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from paper_loop import PaperLoop
from side_by_side import machine, milliseconds, ratio, table

from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import ranks_from_environment
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.training.fit import fit

PRESETS = ("cora-gcn-paper", "cora-gcn")


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    configs = {preset: _config(preset, options) for preset in PRESETS}
    graph = load_graph(configs[PRESETS[0]])
    seconds: dict[str, list[float]] = {name: [] for name in ("the paper's loop", *PRESETS)}
    accuracy: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, taken in seconds.items():
            total, accuracy[name] = (
                _ours(configs[name], graph) if name in configs else _paper(configs[PRESETS[0]], graph, options.device)
            )
            taken.append(total / options.epochs)
    print(
        f"{graph.name}, GCN {options.depth} x {options.width}, sparsity {options.sparsity}; {machine(options.device)}"
    )
    print(f"{options.rounds} rounds of {options.epochs} epochs each; median (least to most)\n")
    paper = seconds["the paper's loop"]
    rows = [
        [name, milliseconds(taken), f"{ratio(paper, taken):.2f}", f"{accuracy[name]:.3f}"]
        for name, taken in seconds.items()
    ]
    print(table(["", "ms an epoch", "times as fast", "test accuracy (best validation epoch of all)"], rows))


def _config(preset: str, options: argparse.Namespace) -> Config:
    return load_preset(preset).replace(
        {
            "data.name": options.data,
            "data.root": options.root,
            "model.depth": options.depth,
            "model.width": options.width,
            "supermask.sparsity": options.sparsity,
            "run.epochs": options.epochs,
            "run.seed": options.seed,
            "run.device": options.device,
            "log.progress": False,
            "log.to": [],
        }
    )


def _paper(config: Config, graph: Graph, device: str) -> tuple[float, float]:
    """Seconds of the run, and its test accuracy."""
    depth, width, sparsity = config.model.depth, config.model.width, config.supermask.sparsity
    loop = PaperLoop(graph, depth, width, sparsity, config.run.epochs, config.optim.lr, config.run.seed, device)
    started = time.perf_counter()
    for epoch in range(config.run.epochs):
        loop.epoch(epoch)
    return time.perf_counter() - started, loop.best_test


def _ours(config: Config, graph: Graph) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder, ranks_from_environment(config.run.device) as ranks:
        result = fit(config, graph, ranks, Path(folder))
    return result.seconds, result.test_any


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="cora", help="dataset, by its name in the catalogue")
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--depth", type=int, default=2, help="number of convolutions")
    parser.add_argument("--width", type=int, default=256, help="width between them")
    parser.add_argument("--sparsity", type=float, default=0.9, help="at the end of the ramp")
    parser.add_argument("--epochs", type=int, default=100, help="of each run; 400 is what the paper takes")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, in alternation")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in this process")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="for both sides")
    parser.add_argument("--seed", type=int, default=0, help="of weights and scores, on both sides")
    return parser.parse_args()


if __name__ == "__main__":
    main()
