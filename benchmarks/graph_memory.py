"""Memory that a graph takes on one machine, with one rank and with several: nearly the same, as they share the store.

    python benchmarks/graph_memory.py STORE

Each rank opens the store, makes its batches, samples a few and reads every array once, so that all of the store is
resident. Counted are the pages of the store, each once however many ranks map it (the proportional set size, summed
over ranks), and what the sampler, the plan of the seed nodes and sparse features add in each rank's own memory and in
memory that ranks share, of which each page counts once, too. The features of one batch, which every recipe needs for
each rank, are not counted: they are freed before.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch.distributed as dist
from side_by_side import table

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import open_store
from ugts_dist.tasks.batches import make_batches

_BLOCK = 1 << 16  # rows that are read at once
_BATCHES = 3


def main() -> None:
    options = _arguments()
    if options.out is not None:
        with ranks_from_environment("cpu") as ranks:
            (options.out / f"{ranks.rank}.json").write_text(json.dumps(_rank(options.store, ranks)))
        return
    totals: dict[int, list[list[float]]] = {count: [] for count in options.ranks}
    for _ in range(options.rounds):
        for count, taken in totals.items():
            taken.append(_run(options.store, count))
    graph = open_store(options.store)
    size = sum(path.stat().st_size for path in options.store.iterdir())
    print(f"{graph.name}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges; the store has {_mib(size)}\n")
    first = None
    rows = []
    for count, taken in totals.items():
        shared, private = (statistics.median(column) for column in zip(*taken, strict=True))
        first = first or shared + private
        rows.append(
            [str(count), _mib(shared), _mib(private), _mib(shared + private), f"{(shared + private) / first:.3f}"]
        )
    print(table(["ranks", "pages of the store", "own memory, all ranks", "together", "of the first"], rows))


def _run(store: Path, count: int) -> list[float]:
    """Bytes of the store's pages and of the ranks' own memory, over all ranks of a torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command += [__file__, str(store), "--out", folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
        ranks = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    return [sum(column) for column in zip(*ranks, strict=True)]


def _rank(store: Path, ranks: Ranks) -> tuple[int, int]:
    """This rank's part of the store's pages, and its own memory for the graph, in bytes."""
    _sample(open_store(store), ranks)  # what the first batch of a process allocates once and keeps is not the graph's
    before = _own()
    graph = open_store(store)
    kept = _sample(graph, ranks)
    _read(graph)
    if ranks.process_group is not None:
        dist.barrier()  # all of them have read what they share
    own = _own() - before
    shared = _proportional(store)
    if ranks.process_group is not None:
        dist.barrier()  # no rank goes while another still counts
    del kept
    return shared, max(own, 0)


def _sample(graph: Graph, ranks: Ranks) -> object:
    """Sample a few batches; what would be kept for the next ones."""
    config = Config().replace(
        {
            "model.arch": "sage",
            "model.depth": 3,
            "batch.size": min(256 * ranks.world_size, graph.train.numel()),
            "batch.fan_out": [15, 10, 5],
            "batch.threads": 0,
        }
    )
    batches = make_batches(graph, config, ranks)
    for number in range(_BATCHES):  # a small graph has one step an epoch
        next(batches.epoch(number))
    return batches


def _read(graph: Graph) -> None:
    for array in (graph.x, graph.indices, graph.indptr, graph.y, graph.train, graph.valid, graph.test):
        for block in array.split(_BLOCK):
            block.sum()


def _own() -> int:
    """Anonymous memory of this process, and its part of memory that ranks share, after what is free was handed back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(size) for size in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE))


def _proportional(store: Path) -> int:
    """Pages of the store that this process maps, each divided by the number of processes that map it."""
    total, of_store = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", words[0]):
            of_store = len(words) >= 6 and Path(words[5]).parent == store.resolve()
        elif of_store and words[0] == "Pss:":
            total += int(words[1]) * 1024
    return total


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the graph store")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4], help="numbers of processes to compare")
    parser.add_argument("--rounds", type=int, default=3, help="in alternation")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
