"""OGB's binary raw layout, as ogbn-papers100M has it: arrays in npz files, read as a stream."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import load_npz, reading
from ugts_dist.graphs.ogb_archive import Archive
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.tables import BLOCK_BYTES, Report, Table, array_table

Array = NDArray[Any]

_DATA, _LABELS = "raw/data.npz", "raw/node-label.npz"
_COUNTS = ("num_nodes_list", "num_edges_list")
_SKIPPED_BYTES = 1 << 24  # that are unpacked at once and not used


# Directed citations, which nearly all published results make undirected.
DATASETS = {"ogbn-papers100M": Archive("ogbn_papers100M", "time", 172, "papers100M-bin.zip")}


def read(name: str, root: Path) -> RawGraph:
    """The undirected graph with OGB's standard split, from `root`/ogb, which is only read; most nodes have no label.

    Raises InputError that names all missing files, or the wrong one.
    """
    archive = DATASETS[name]
    folder = archive.unpacked(name, root, (_DATA, _LABELS))
    path = folder / _DATA
    counts = load_npz(path, _COUNTS)
    if any(count.shape != (1,) for count in counts.values()):
        raise InputError(f"{path}: has {counts[_COUNTS[0]].size} graphs; allowed: one")
    num_nodes, num_edges = (int(counts[array][0]) for array in _COUNTS)
    return RawGraph(
        name=name,
        source="OGB raw files",
        edges=_edges(path, num_edges),
        features=_features(path, num_nodes),
        labels=_labels(folder / _LABELS),
        splits=archive.splits(folder),
        undirected=True,
        num_classes=archive.num_classes,
        num_nodes=num_nodes,
        num_edges=num_edges,
    )


def _features(path: Path, num_nodes: int) -> Table:
    with _array(path, "node_feat") as (_, shape, _):
        pass
    if len(shape) != 2 or shape[0] != num_nodes:
        raise InputError(f"{path} node_feat: has shape {shape}; allowed: ({num_nodes}, number of features)")

    def read(report: Report) -> Iterator[Array]:
        with _array(path, "node_feat") as (file, (rows, columns), dtype):
            step = max(1, BLOCK_BYTES // (columns * dtype.itemsize))
            for first in range(0, rows, step):
                count = min(step, rows - first)
                yield _numbers(file, count * columns, dtype).reshape(count, columns)
                report((first + count) / rows)

    return Table(f"{path} node_feat", shape[1], num_nodes, read)


def _edges(path: Path, num_edges: int) -> Table:
    """Both rows of edge_index are read at once, by two streams."""
    with _array(path, "edge_index") as (_, shape, _):
        pass
    if shape != (2, num_edges):
        raise InputError(f"{path} edge_index: has shape {shape}; allowed: (2, {num_edges})")

    def read(report: Report) -> Iterator[Array]:
        with ExitStack() as streams:
            source, _, dtype = streams.enter_context(_array(path, "edge_index"))
            destination, _, _ = streams.enter_context(_array(path, "edge_index"))
            _skip(destination, num_edges * dtype.itemsize)
            step = BLOCK_BYTES // (2 * dtype.itemsize)
            for first in range(0, num_edges, step):
                count = min(step, num_edges - first)
                yield np.stack([_numbers(source, count, dtype), _numbers(destination, count, dtype)], axis=1)
                report((first + count) / num_edges)

    return Table(f"{path} edge_index", 2, num_edges, read, row="column")


def _labels(path: Path) -> Table:
    """Classes; -1 for the nodes without one, whose label is NaN."""
    label = load_npz(path, ("node_label",))["node_label"].astype(np.float32).reshape(-1)
    whole = np.nan_to_num(label, nan=-1.0).astype(np.int64)
    if (wrong := np.flatnonzero(~np.isnan(label) & (whole != label))).size:
        raise InputError(f"{path} node_label row {wrong[0] + 1}: {label[wrong[0]]}; allowed: classes, or NaN for none")
    return array_table(f"{path} node_label", whole, "integers")


@contextmanager
def _array(path: Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """The numbers of an array in an npz file as a stream, its shape, and their type. Raises InputError."""
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
        if is_fortran or dtype.hasobject:
            raise InputError(f"{path} {name}: is in Fortran order, or no numbers; allowed: numbers in C order")
        yield file, shape, dtype


def _numbers(file: IO[bytes], count: int, dtype: np.dtype[Any]) -> Array:
    """The next numbers of a stream. Raises EOFError if there are fewer."""
    size = count * dtype.itemsize
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return np.frombuffer(data, dtype)


def _skip(file: IO[bytes], size: int) -> None:
    while size:
        unused = len(file.read(min(size, _SKIPPED_BYTES)))
        if not unused:
            raise EOFError("it ends too early")
        size -= unused
