"""Small files that unpack to enormous ones, and data that do not fit into the memory."""

from __future__ import annotations

import gzip
from pathlib import Path
from unittest import mock

import numpy as np

from tests.trials.case import case, ugts
from ugts_dist.graphs import catalogue, csv_files

NUM_NODES = 30


def write_graph(folder: Path) -> dict[str, Path]:
    """The files of a graph by option; features are an array."""
    files = {name: folder / f"{name}.csv.gz" for name in ("edges", "labels", "train", "valid", "test")}
    nodes = range(NUM_NODES)
    rows = {
        "edges": [f"{node},{(node + 1) % NUM_NODES}" for node in nodes],
        "labels": [str(node % 2) for node in nodes],
    }
    rows |= {"train": list(map(str, nodes[:10])), "valid": ["10", "11"], "test": ["12", "13"]}
    for name, lines in rows.items():
        files[name].write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    np.save(folder / "features.npy", np.eye(NUM_NODES, 3, dtype=np.float32))
    return files | {"features": folder / "features.npy"}


def bomb(path: Path, line: str, lines: int) -> None:
    path.write_bytes(gzip.compress(f"{line}\n".encode() * lines, 1))


def prepare(folder: Path, files: dict[str, Path]) -> str:
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    return ugts("prepare", "mine", "--out", folder / "store", *options).told


@case(r"exit 2: .*labels\.csv\.gz: has more than \d+ rows; allowed: 30$")
def labels_without_end(folder: Path) -> str:
    """Labels that unpack to millions of rows beside features of 30 nodes."""
    files = write_graph(folder)
    bomb(files["labels"], "0", 2_000_000)
    return prepare(folder, files)


@case(r"exit 2: .*test\.csv\.gz: has more than \d+ rows; allowed: 30$")
def split_without_end(folder: Path) -> str:
    """Test nodes that unpack to millions of rows in a graph of 30 nodes."""
    files = write_graph(folder)
    bomb(files["test"], "12", 2_000_000)
    return prepare(folder, files)


@case(
    r"exit 2: .*edges\.csv\.gz: unpacks to more than 200 times its [\d,]+ bytes, as no table of integers or words does$"
)
def edges_without_end(folder: Path) -> str:
    """Edges that unpack to more than 200 times their size."""
    files = write_graph(folder)
    bomb(files["edges"], "0,1", 1_000_000)
    with mock.patch.object(csv_files, "_UNPACKED_BYTES", 1 << 20):
        return prepare(folder, files)


@case(r"exit 2: ugts: data\.name: digits: takes more memory than there is \(MemoryError: 8 TiB\)$")
def no_memory_for_the_data(folder: Path) -> str:
    """Train on data that do not fit into the memory."""
    with mock.patch.object(catalogue, "load", side_effect=MemoryError("8 TiB")):
        return ugts("train", "--preset", "digits", "--run.folder", folder / "run").told
