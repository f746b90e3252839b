"""Sampled training on a large graph: PyG's own recipe beside ours, in alternation, each in its own torchrun.

    python benchmarks/sampled_training.py STORE --peer-python PYTHON

STORE is a graph store (`ugts prepare`). The recipe (`pyg_recipe.py`) needs pyg-lib or torch-sparse; `--peer-python`
names a Python that has one of them and this project. Both sides: 3-layer GraphSAGE, the same width, fan-out and seed
nodes a rank, gloo, one thread a rank. Ours trains a dense network and a ticket, each with the first layer sampled and
exact (`batch.first_layer`); its layers have no bias. The table of the exact first layer is made anew in each run.

Seeds per second are of all ranks together, from the median step after the warm-up. Start-up is from the end of the
imports to the first batch. Private memory is the peak of the anonymous memory, summed over ranks; what ranks share,
the store, is counted once and whole. Resident is the sum of the peaks of what was mapped, shared or not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from side_by_side import machine, ratio, table

from ugts_dist.graphs.store import open_store

HERE = Path(__file__).resolve().parent
PEER = "PyG's recipe"


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)  # as in every rank; `machine` tells it
    graph = open_store(options.store)
    store = sum(path.stat().st_size for path in options.store.iterdir())
    ours = [sys.executable, "our_training.py", "--micro-batches", str(options.micro_batches)]
    dense, ticket = ["--method", "dense"], ["--method", "ugts", "--sparsity", str(options.sparsity)]
    exact, rough = ["--first-layer", "exact"], ["--precision", "bfloat16"]
    sides = {
        PEER: [options.peer_python, "pyg_recipe.py", "--workers", str(options.peer_workers)],
        "ours, dense": [*ours, *dense],
        "ours, dense, exact first layer": [*ours, *dense, *exact],
        f"ours, UGTs {options.sparsity}": [*ours, *ticket],
        f"ours, UGTs {options.sparsity}, exact first layer": [*ours, *ticket, *exact],
        f"ours, UGTs {options.sparsity}, exact first layer, bfloat16": [*ours, *ticket, *exact, *rough],
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name, (python, script, *extra) in sides.items():
            ranks = _run(python, script, extra, options)
            rounds[name].append(_together(ranks, 0 if name == PEER else store))
            print(f"round {number}, {name}: {rounds[name][-1]['seeds_per_second']:.0f} seeds/s", file=sys.stderr)
    print(
        f"{graph.name}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges, {graph.num_features} features; "
        f"GraphSAGE {len(options.fan_out)} x {options.width}, fan-out {'/'.join(map(str, options.fan_out))}, "
        f"{options.batch} seeds a rank, {options.ranks} rank(s); {machine(options.device)}"
    )
    print(
        f"Median of {options.rounds} rounds of {options.steps} steps; the store has {_gib(store)}; "
        f"our batches are cut into {options.micro_batches} micro-batch(es), "
        f"PyG's sampled by {options.peer_workers} worker(s) a rank\n"
    )
    header = ["", "seeds/s", "times as fast", "loading", "start-up, s", "private and store", "of PyG's", "resident"]
    header += ["GPU"] * (options.device == "cuda")
    print(table(header, [_row(name, taken, rounds[PEER]) for name, taken in rounds.items()]))


def _run(python: str, script: str, extra: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every rank's figures of one torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.ranks}"]
        command += [str(HERE / script), str(options.store), "--out", folder, "--steps", str(options.steps)]
        command += ["--batch", str(options.batch), "--fan-out", *map(str, options.fan_out)]
        command += ["--width", str(options.width), "--lr", str(options.lr), "--seed", str(options.seed)]
        command += ["--device", options.device, *extra]
        # Huge pages for both sides: our program sets this for itself.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{script} failed:\n{done.stderr}")
        return [json.loads(path.read_text()) for path in Path(folder).iterdir()]


def _together(ranks: Sequence[dict[str, Any]], shared: int) -> dict[str, float]:
    """One figure for all ranks of a run."""

    def total(name: str) -> float:
        return sum(rank[name] for rank in ranks)

    return {
        "seeds_per_second": total("seeds_per_second"),
        "loading": total("loading") / len(ranks),
        "startup": max(rank["startup"] for rank in ranks),
        "memory": total("private") + shared,
        "resident": total("resident"),
        "gpu": total("gpu"),
    }


def _row(name: str, taken: Sequence[dict[str, float]], peer: Sequence[dict[str, float]]) -> list[str]:
    def column(rows: Sequence[dict[str, float]], figure: str) -> list[float]:
        return [row[figure] for row in rows]

    def middle(figure: str) -> float:
        return statistics.median(column(taken, figure))

    speed = column(taken, "seeds_per_second")
    return [
        name,
        f"{middle('seeds_per_second'):.0f} ({min(speed):.0f} to {max(speed):.0f})",
        f"{ratio(speed, column(peer, 'seeds_per_second')):.1f}",
        f"{middle('loading'):.0%}",
        f"{middle('startup'):.2f}",
        _gib(middle("memory")),
        f"{ratio(column(taken, 'memory'), column(peer, 'memory')):.2f}",
        _gib(middle("resident")),
        *([_gib(middle("gpu"))] if middle("gpu") else []),
    ]


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the graph store")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter for PyG's recipe")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda: a GPU for each rank, nccl")
    parser.add_argument("--peer-workers", type=int, default=0, help="processes a rank that sample for PyG's recipe")
    parser.add_argument("--ranks", type=int, default=2, help="processes of each side")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in alternation")
    parser.add_argument("--steps", type=int, default=10, help="of each run, after the warm-up")
    parser.add_argument("--batch", type=int, default=1024, help="seed nodes a rank in a step")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[15, 10, 5], help="seed nodes' own first")
    parser.add_argument("--width", type=int, default=256, help="between the layers")
    parser.add_argument("--lr", type=float, default=0.003, help="of Adam")
    parser.add_argument("--micro-batches", type=int, default=1, help="that our ranks cut a batch into, to save memory")
    parser.add_argument("--sparsity", type=float, default=0.5, help="of our ticket")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
