"""Edges per second that `ugts prepare` reads, from CSV and from Parquet, directed and made undirected.

    .venv/bin/python benchmarks/prepare_speed.py                          # 20 M edges, 1 M nodes, 16 features
    .venv/bin/python benchmarks/prepare_speed.py --edges 5000000 --rounds 1

The time is that of the whole command: labels, a drawn split, features, edges, and checksums of the finished store. A
tenth of the edges leads to one node in a hundred. The kinds of files alternate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
from side_by_side import table

from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions

KINDS = ("csv", "parquet")


def write_graph(folder: Path, num_nodes: int, num_edges: int, num_features: int) -> None:
    """Files of a random graph."""
    rng = np.random.default_rng(0)
    source, destination = rng.integers(0, num_nodes, (2, num_edges))
    destination[: num_edges // 10] //= 100
    edges = pa.table({"source": source, "destination": destination})
    csv.write_csv(edges, folder / "edges.csv")
    parquet.write_table(edges, folder / "edges.parquet")
    np.save(folder / "x.npy", rng.random((num_nodes, num_features), dtype=np.float32))
    np.save(folder / "y.npy", rng.integers(0, 10, num_nodes))


def seconds(folder: Path, kind: str, undirected: bool, out: Path) -> float:
    """The time of one command."""
    options = PrepareOptions(
        "benchmark",
        edges=str(folder / f"edges.{kind}"),
        features=str(folder / "x.npy"),
        labels=str(folder / "y.npy"),
        split_random="60/20/20",
        undirected=undirected,
        out=str(out),
    )
    start = time.perf_counter()
    prepare(options)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=20_000_000, help="rows of the file (default: 20 million)")
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    taken: dict[tuple[str, bool], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_graph(folder, options.nodes, options.edges, options.features)
        for number in range(options.rounds):
            for kind in KINDS:
                for undirected in (False, True):
                    out = folder / f"store-{number}-{kind}-{undirected}"
                    taken.setdefault((kind, undirected), []).append(seconds(folder, kind, undirected, out))
    rows = []
    for (kind, undirected), times in taken.items():
        rates = [options.edges / each / 1e6 for each in times]
        spread = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
        rows.append([kind, "undirected" if undirected else "as it is", f"{statistics.median(times):.1f}", spread])
    print(f"{options.edges:,} edges, {options.nodes:,} nodes, {options.features} features, {options.rounds} rounds\n")
    print(table(["file", "edges", "seconds", "million edges of the file a second"], rows))


if __name__ == "__main__":
    main()
