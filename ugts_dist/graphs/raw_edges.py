"""Writes the edges of tables into a store, sorted, with their weights and features."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.ahead import read_ahead
from ugts_dist.graphs.edge_data import RepeatedEdgeError, Values
from ugts_dist.graphs.edge_tables import EdgeReader, EdgeTables
from ugts_dist.graphs.external_sort import EdgeSorter
from ugts_dist.graphs.npy_file import NpyFile
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.graphs.tables import Progress, Table, check_ids, limited, stage
from ugts_dist.index_type import numpy_index_type

LEAST_MEMORY, MOST_MEMORY = 1 << 24, 1 << 28  # for sorting edges
_INT64, _FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)
_EDGE_BYTES = 8  # a guess of an edge's size in a text file, if their number is unknown


@dataclass(frozen=True)
class RawEdges:
    """The edges of a graph in tables."""

    ends: Table  # two columns, source and destination
    data: EdgeTables
    undirected: bool  # add the reverse of each edge, with the same weight and features
    num_edges: int | None = None  # expected number of rows, if known


def write_edges(
    edges: RawEdges, num_nodes: int, store: StoreWriter, progress: Progress, tell: Callable[[str], None]
) -> None:
    """Write indptr and indices, and edge_weight and edge_attr if the edges have them.

    ``tell`` is called with a line if weights are summed. Raises InputError that names file and row.
    """
    ends = edges.ends
    num_rows = edges.num_edges if ends.num_rows is None else ends.num_rows
    edges.data.check(num_rows)
    if num_rows is None:
        num_rows = Path(ends.name).stat().st_size // _EDGE_BYTES
    num_edges = num_rows * (2 if edges.undirected else 1)
    memory = min(max(num_edges, LEAST_MEMORY), MOST_MEMORY)
    sorter = EdgeSorter(store.temporary, num_nodes, num_edges, memory, edges.data.columns)
    added = _add(edges, num_nodes, sorter, progress)
    try:
        written = _write(edges, num_nodes, sorter, store, progress)
    except RepeatedEdgeError as repeated:
        raise repeated.error(ends.name, num_nodes) from None
    if edges.data.weight is not None and written < added:
        again = "; --undirected adds reverse edges, which a file with both directions has already"
        tell(
            f"{ends.name}: {added - written} edges are repeated, and the weights of equal edges are summed"
            f"{again if edges.undirected else ''}"
        )


def _add(edges: RawEdges, num_nodes: int, sorter: EdgeSorter, progress: Progress) -> int:
    """Give all edges to the sorter. Returns their number, without self loops."""
    ends, reader = edges.ends, EdgeReader(edges.data)
    done = added = 0
    for block in read_ahead(limited(ends.name, ends.read(stage(progress, "edges")), edges.num_edges)):
        check_ids(ends, block, done, num_nodes)
        source, destination = block.astype(np.int64).T
        values = reader.take(len(block))
        sorter.add(source, destination, values)
        if edges.undirected:
            sorter.add(destination, source, values)
        done += len(block)
        added += int((source != destination).sum()) * (2 if edges.undirected else 1)
    if edges.num_edges not in (None, done):
        raise InputError(f"{ends.name}: has {done} rows; allowed: {edges.num_edges}, the number of edges")
    reader.end()
    return added


def _write(edges: RawEdges, num_nodes: int, sorter: EdgeSorter, store: StoreWriter, progress: Progress) -> int:
    """Write what the sorter yields. Returns the number of edges."""
    columns = edges.data.columns
    indptr: NDArray[np.int64] = np.zeros(num_nodes + 1, dtype=np.int64)
    report = stage(progress, "neighbours")
    with ExitStack() as open_files:
        indices = open_files.enter_context(store.open("indices", numpy_index_type(num_nodes)))
        weight = attr = None
        if columns.weighted:
            weight = open_files.enter_context(store.open("edge_weight", _FLOAT32))
        if columns.num_features:
            attr = open_files.enter_context(store.open("edge_attr", _FLOAT32, (columns.num_features,)))
        for first, degree, sources, values in read_ahead(sorter.edges()):
            last = first + len(degree)
            indptr[first + 1 : last + 1] = degree
            indices.append(sources)
            _append(values, weight, attr)
            report(last / num_nodes)
    store.write("indptr", _INT64, [indptr.cumsum(out=indptr)])
    return indices.num_rows


def _append(values: Values, weight: NpyFile | None, attr: NpyFile | None) -> None:
    if weight is not None:
        weight.append(values[:, 0])
    if attr is not None:
        attr.append(values[:, int(weight is not None) :])
