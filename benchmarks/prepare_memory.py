"""How much memory `ugts prepare` takes for a graph in a CSV file, beside the size of the finished store.

    python benchmarks/prepare_memory.py --edges 5000000 --nodes 500000 --features 100

A child process prepares the graph, its parent samples /proc/PID/smaps_rollup. `private` is memory of its own
(anonymous), `mapped` are pages of files, which every process on the machine shares and which the system takes
back when it needs them. The imports are what Python and the libraries take before anything is read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

CHILD = """
import sys, torch
torch.set_num_threads(1)
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions
print(flush=True); sys.stdin.readline()
values = dict(argument.split("=") for argument in sys.argv[1:])
print(prepare(PrepareOptions("benchmark", undirected=True, **values)), flush=True)
"""


def write_graph(folder: Path, num_nodes: int, num_edges: int, num_features: int) -> dict[str, str]:
    """Files of a random graph, a tenth of whose edges lead to one node in a hundred; their names by option."""
    rng = np.random.default_rng(0)
    with csv.CSVWriter(folder / "edges.csv", pa.schema([("source", pa.int64()), ("destination", pa.int64())])) as file:
        for count in np.diff(np.linspace(0, num_edges, max(2, num_edges // 1_000_000)).astype(int)):
            destination = rng.integers(0, num_nodes, count)
            destination[: count // 10] //= 100
            columns = [rng.integers(0, num_nodes, count), destination]
            file.write(pa.table(columns, names=["source", "destination"]))
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (num_nodes, num_features))
    for first in range(0, num_nodes, 10_000):
        x[first : first + 10_000] = rng.random((len(x[first : first + 10_000]), num_features), dtype=np.float32)
    x.flush()
    np.save(folder / "y.npy", rng.integers(0, 10, num_nodes))
    order = rng.permutation(num_nodes)
    for split, nodes in zip(("train", "valid", "test"), np.array_split(order, 3), strict=True):
        np.save(folder / f"{split}.npy", nodes)
    files = {"edges": "edges.csv", "features": "x.npy", "labels": "y.npy"}
    files |= {split: f"{split}.npy" for split in ("train", "valid", "test")}
    return {option: str(folder / file) for option, file in files.items()}


def memory(process: int) -> tuple[int, int]:
    """Private and all resident bytes of a process; zeros once it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    values = {parts[0].rstrip(":"): int(parts[1]) * 1024 for line in text.splitlines()[1:] if (parts := line.split())}
    return values["Anonymous"], values["Rss"]


def measure(options: dict[str, str], out: Path) -> None:
    arguments = [f"{option}={value}" for option, value in {**options, "out": str(out)}.items()]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    imports, _ = memory(child.pid)
    private = resident = 0
    start = time.perf_counter()
    child.stdin.write(b"\n")
    child.stdin.flush()
    while child.poll() is None:
        now = memory(child.pid)
        private, resident = max(private, now[0]), max(resident, now[1])
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    if child.returncode:
        sys.exit(child.returncode)
    store = sum(path.stat().st_size for path in out.iterdir())
    rows = {
        "store": store,
        "imports, private": imports,
        "peak private": private,
        "peak private beyond imports": private - imports,
        "peak resident (private and mapped)": resident,
    }
    print(child.stdout.read().decode().strip())
    print(f"{seconds:.1f} s")
    for name, size in rows.items():
        print(f"{name:<36} {size / 2**20:9.1f} MiB  {size / store:6.2f} x store")
    written = private - imports + store
    print(f"private beyond imports, and all that is written: {written / store:.2f} x store (aim: below 1.5)")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=5_000_000)
    parser.add_argument("--nodes", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=100)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        options = write_graph(Path(folder), arguments.nodes, arguments.edges, arguments.features)
        measure(options, Path(folder) / "store")


if __name__ == "__main__":
    main()
