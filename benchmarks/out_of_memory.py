"""Sampled training on a store that is several times as large as the memory: ours, and PyG's recipe.

    python benchmarks/out_of_memory.py STORE --peer-python PYTHON

Linux, as root: the memory is limited by a control group, which counts the pages of mapped files, too. Before each run
the store is removed from the page cache. The sides, GraphSAGE in all of them:

- ours without a limit, after a run that has read the whole store;
- ours within the limit, with the cache of features (`batch.cache_bytes`, its default);
- ours within the limit without it: pages are read as they are touched;
- PyG's NeighborLoader within the limit, with features and sorted edges mapped from files.

Seeds per second are of all ranks together, from the median step after the warm-up. *Fewest reads* is what Belady's rule
needs for these batches with a cache of this size if it knows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory_limit import forget, run_limited
from side_by_side import machine, table

from ugts_dist.graphs.store import open_store

HERE = Path(__file__).resolve().parent
FREE, CACHE, MAPPED, PEER = "ours, no limit", "ours, cache", "ours, mapped", "PyG's recipe, mapped"


def main() -> None:
    options = _arguments()
    size = sum(path.stat().st_size for path in options.store.iterdir())
    limit = options.limit or size // 4
    graph = open_store(options.store)
    print(
        f"{graph.name}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges, {graph.num_features} features, "
        f"{size / 1e9:.2f} GB; limit {limit / 1e9:.2f} GB. GraphSAGE {len(options.fan_out)} x {options.width}, fan-out "
        f"{'/'.join(map(str, options.fan_out))}, {options.batch} seeds a rank, {options.ranks} rank(s), "
        f"{options.steps} steps; {machine('cpu')}\n"
    )
    edges = options.store.parent / f"{options.store.name}-edges.npy"
    if PEER in options.sides and not edges.exists():
        destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
        np.save(edges, torch.stack([graph.indices.long(), destination]).numpy())
        del destination
    ours = [sys.executable, "our_training.py", "--method", "ugts"]
    sides = {
        FREE: ([*ours, "--cache-bytes", "0"], 0),
        CACHE: ([*ours, "--cache-bytes", "-1"], limit),
        MAPPED: ([*ours, "--cache-bytes", "0"], limit),
        PEER: ([options.peer_python, "pyg_recipe.py", "--edges", str(edges)], limit),
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in options.sides}
    for _ in range(options.rounds):
        for name in options.sides:
            command, most = sides[name]
            if most:
                forget(options.store)
            else:
                _read(options.store)
            rows[name].append(_run(command, most, options))
            if cache := rows[name][-1].get("cache"):  # the bound takes memory of its own
                known = _run([*ours, "--cache-bytes", str(int(cache)), "--fewest-reads"], 0, options)
                rows[name][-1]["fewest"] = known["fewest"]
            print(name, rows[name][-1], file=sys.stderr)
    header = ["", "seeds/s", "of no limit", "loading", "hits", "read a step", "fewest reads"]
    free = statistics.median(row.get("seeds_per_second", 0.0) for row in rows.get(FREE, [{}]))
    print(table(header, [_row(name, taken, free) for name, taken in rows.items()]))


def _run(command: list[str], limit: int, options: argparse.Namespace) -> dict[str, Any]:
    """The first rank's figures of one torchrun, with the seeds of all ranks; what went wrong, otherwise."""
    python, script, *extra = command
    with tempfile.TemporaryDirectory() as folder:
        whole = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.ranks}"]
        whole += [str(HERE / script), str(options.store), "--out", folder, "--steps", str(options.steps)]
        whole += ["--batch", str(options.batch), "--fan-out", *map(str, options.fan_out), "--lr", "0.01"]
        whole += ["--width", str(options.width), "--seed", "0", *extra]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        problem = run_limited(whole, limit, environment, options.seconds)
        ranks = [json.loads(path.read_text()) for path in sorted(Path(folder).iterdir())]
    if problem or not ranks:
        return {"problem": problem or "no figures"}
    return {**ranks[0], "seeds_per_second": sum(rank["seeds_per_second"] for rank in ranks)}


def _row(name: str, taken: list[dict[str, Any]], free: float) -> list[str]:
    done = [row for row in taken if "problem" not in row]
    if not done:
        return [name, taken[0]["problem"], *[""] * 5]

    def middle(figure: str) -> float:
        return statistics.median(row[figure] for row in done)

    cells = [name, f"{middle('seeds_per_second'):.0f}"]
    cells += [f"{middle('seeds_per_second') / free:.2f}" if free else "", f"{middle('loading'):.0%}"]
    if "hits" not in done[0]:
        return [*cells, "", "", ""]
    accesses = middle("hits") + middle("misses")
    read = f"{middle('read_a_step') / 1e6:.0f} MB"
    return [*cells, f"{middle('hits') / accesses:.0%}", read, f"{middle('fewest') / accesses:.0%} of the rows"]


def _read(folder: Path) -> None:
    """Bring a store into the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the graph store")
    parser.add_argument("--limit", type=int, default=0, help="bytes; default: a quarter of the store")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter for PyG's recipe")
    parser.add_argument("--sides", nargs="+", default=[FREE, CACHE, MAPPED, PEER])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="of each run, after the warm-up")
    parser.add_argument("--batch", type=int, default=512, help="seed nodes a rank in a step")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[10, 10])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=600.0, help="after which a run is given up")
    return parser.parse_args()


if __name__ == "__main__":
    main()
