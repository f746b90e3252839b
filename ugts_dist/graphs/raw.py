"""A graph in tables, and its conversion into a store without loading it as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.classes import summary, without_gaps
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.node_ids import NodeIds
from ugts_dist.graphs.random_split import RandomSplit
from ugts_dist.graphs.raw_edges import RawEdges, write_edges
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.store_writer import Origin, StoreWriter
from ugts_dist.graphs.stored_ids import write_ids
from ugts_dist.graphs.tables import Progress, Report, Table, check_ids, stage

Dtype = Literal["float32", "bfloat16"]
Integers = NDArray[np.int64]

_INT64, _FLOAT32, _BFLOAT16 = np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.uint16)


@dataclass(frozen=True)
class RawGraph:
    """The tables of a graph. The number of nodes is that of the labels."""

    name: str
    source: str  # where it comes from, recorded in the store
    edges: Table  # two columns, source and destination
    features: Table  # one row per node
    labels: Table  # one column, one row per node; negative: no label, as for all nodes of a graph without labels
    splits: Mapping[str, Table]  # train, valid, test: node ids, or true and false by node; empty: drawn, or no split
    undirected: bool  # add the reverse of each edge
    num_classes: int | None = None  # None: one more than the highest label
    num_nodes: int | None = None  # expected number of rows of the labels, if known
    num_edges: int | None = None  # expected number of rows of the edges, if known
    features_of: Integers | None = None  # [num_nodes] the node of each row of the features; None: they are in order
    ids: NodeIds | None = None  # the nodes' ids in the user's files; None: 0, 1, 2, ...
    class_names: tuple[str, ...] = ()  # if the labels are words
    random_split: RandomSplit | None = None  # draws the splits; None without splits: for prediction only
    edge_data: EdgeTables = field(default_factory=EdgeTables)  # weights and features of the edges


def write_raw(
    raw: RawGraph,
    folder: Path,
    dtype: Dtype,
    row_normalize: bool,
    origin: Origin,
    progress: Progress,
    tell: Callable[[str], None],
) -> None:
    """Write the graph as a store. Memory: some 30 bytes per node, a byte per edge, and 50 MiB.

    Repeated edges and self loops are dropped. ``progress`` is called with the name of the stage and its finished
    fraction. Temporary files beside the arrays take 8 bytes per edge, and 4 for its weight and for each of its features
    (twice that if undirected). ``tell`` is called with a line if labels have gaps, so that classes are renumbered, if
    the split is drawn, and if weights are summed. Raises InputError that names file and row, and as StoreWriter does.
    """
    labels, class_names = _classes(raw, _labels(raw), tell)
    num_nodes = len(labels)
    splits = _splits(raw, labels, tell)
    num_classes = _check(raw, labels, splits, class_names)
    with StoreWriter(folder, raw.name, num_classes, origin, class_names) as store:
        store.write("y", _INT64, [labels])
        for array, nodes in splits.items():
            store.write(array, _INT64, [nodes])
        del labels, splits
        if raw.ids is not None:
            write_ids(raw.ids, store)
        features = _features(raw, num_nodes, row_normalize, progress)
        _write_features(raw, num_nodes, features, dtype, store)
        edges = RawEdges(raw.edges, raw.edge_data, raw.undirected, raw.num_edges)
        write_edges(edges, num_nodes, store, progress, tell)
        progress("checks", 0.0)
        store.finish()
        progress("checks", 1.0)


def _labels(raw: RawGraph) -> Integers:
    table = raw.labels
    if table.num_columns != 1:
        raise InputError(f"{table.name}: has {table.num_columns} columns; allowed: 1")
    labels = table.whole(raw.num_nodes or raw.features.num_rows)[:, 0].astype(np.int64)
    if not len(labels):
        raise InputError(f"{table.name}: has no rows; allowed: one for each node")
    if raw.num_nodes not in (None, len(labels)):
        raise InputError(f"{table.name}: has {len(labels)} rows; allowed: {raw.num_nodes}, the number of nodes")
    features = raw.features
    if features.num_rows not in (None, len(labels)):
        raise _unequal(features, features.num_rows, len(labels))
    return labels


def _classes(raw: RawGraph, labels: Integers, tell: Callable[[str], None]) -> tuple[Integers, tuple[str, ...]]:
    """Labels without gaps and the names of their classes, unless the number of classes is given."""
    if raw.class_names or raw.num_classes is not None:
        return labels, raw.class_names
    numbered, names = without_gaps(labels)
    if names:
        empty = int(labels.max()) + 1 - len(names)
        tell(
            f"{raw.labels.name}: {empty} of the classes 0 to {labels.max()} have no nodes; left are {summary(names)}; "
            "predictions have these numbers (--num-classes N keeps empty classes)"
        )
    return numbered, names


def _splits(raw: RawGraph, labels: Integers, tell: Callable[[str], None]) -> dict[str, Integers]:
    """The ascending nodes of each split: those of its table, or drawn ones; empty if the graph has no split."""
    if raw.random_split is None and not raw.splits:
        return {array: np.empty(0, dtype=np.int64) for array in SPLITS}
    if raw.random_split is None:
        return {array: _node_ids(table, len(labels)) for array, table in raw.splits.items()}
    labelled = np.flatnonzero(labels >= 0)
    splits = raw.random_split.draw(labelled)
    counts = ", ".join(f"{split} {len(nodes)}" for split, nodes in splits.items())
    tell(f"random split with seed {raw.random_split.seed}: {counts} of {len(labelled)} labelled nodes")
    return splits


def _node_ids(table: Table, num_nodes: int) -> Integers:
    """Ascending ids of the nodes of a split."""
    if table.num_columns != 1:
        raise InputError(f"{table.name}: has {table.num_columns} columns; allowed: 1, of node ids")
    values = table.whole(num_nodes)[:, 0]
    if values.dtype == np.bool_:
        if len(values) != num_nodes:
            raise _unequal(table, len(values), num_nodes)
        nodes: Integers = np.flatnonzero(values)
    else:
        check_ids(table, values, 0, num_nodes)
        nodes = np.sort(values.astype(np.int64))
        repeated = nodes[1:][nodes[1:] == nodes[:-1]]
        if len(repeated):
            raise InputError(f"{table.name}: has node {repeated[0]} more than once")
    if not len(nodes):
        raise InputError(f"{table.name}: has no nodes; allowed: at least one")
    return nodes


def _check(raw: RawGraph, labels: Integers, splits: Mapping[str, Integers], class_names: tuple[str, ...]) -> int:
    """Refuse splits with a common node and labels out of range. Returns the number of classes."""
    owner = np.full(len(labels), -1, dtype=np.int8)
    arrays = list(splits)
    for number, (array, nodes) in enumerate(splits.items()):
        taken = nodes[owner[nodes] >= 0]
        if len(taken):
            other = raw.splits[arrays[owner[taken[0]]]].name
            raise InputError(f"{raw.splits[array].name}: has node {taken[0]}, which is also in {other}")
        owner[nodes] = number
    num_classes = raw.num_classes or len(class_names) or max(0, int(labels.max()) + 1)
    wrong = np.flatnonzero((labels >= num_classes) | ((labels < 0) & (owner >= 0)))
    if len(wrong):
        allowed = f"0 to {num_classes - 1}, negative only outside the splits"
        raise InputError(f"{raw.labels.name}: node {wrong[0]} has label {labels[wrong[0]]}; allowed: {allowed}")
    return num_classes


def _write_features(
    raw: RawGraph, num_nodes: int, features: Iterator[NDArray[np.float32]], dtype: Dtype, store: StoreWriter
) -> None:
    """Write the features in the order of the nodes."""
    kept = _BFLOAT16 if dtype == "bfloat16" else _FLOAT32
    blocks = map(_bfloat16, features) if dtype == "bfloat16" else features
    width = raw.features.num_columns
    if raw.features_of is None:
        store.write("x", kept, blocks, (width,))
        return
    x, done = store.create("x", kept, (num_nodes, width)), 0
    for block in blocks:
        x[raw.features_of[done : done + len(block)]] = block
        done += len(block)


def _features(raw: RawGraph, num_nodes: int, row_normalize: bool, progress: Progress) -> Iterator[NDArray[np.float32]]:
    """The features in blocks of rows; ``row_normalize`` as in ``catalogue.load``."""
    lowest = 0.0
    if row_normalize:
        report = stage(progress, "lowest feature")
        lowest = min((float(block.min()) for block in _float_blocks(raw, num_nodes, report)), default=0.0)
    for block in _float_blocks(raw, num_nodes, stage(progress, "features")):
        if row_normalize:
            x = torch.from_numpy(block - np.float32(lowest))
            yield x.div_(x.sum(dim=-1, keepdim=True).clamp_(min=1.0)).numpy()
        else:
            yield block


def _float_blocks(raw: RawGraph, num_nodes: int, report: Report) -> Iterator[NDArray[np.float32]]:
    table, done = raw.features, 0
    for values in table.read(report):
        with np.errstate(over="ignore"):
            block = values.astype(np.float32)
        finite = np.isfinite(block)
        if not finite.all():
            row, feature = np.argwhere(~finite)[0]
            node = done + row if raw.features_of is None else raw.features_of[done + row]
            found = f"{values[row, feature]} as feature {feature} of node {node}"
            raise InputError(f"{table.at(done + row)}: {found}; allowed: finite numbers")
        done += len(block)
        if done > num_nodes:
            raise _unequal(table, f"more than {num_nodes}", num_nodes)
        yield block
    if done != num_nodes:
        raise _unequal(table, done, num_nodes)


def _bfloat16(block: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits: NDArray[np.uint16] = torch.from_numpy(block).bfloat16().view(torch.uint16).numpy()
    return bits


def _unequal(table: Table, found: int | str | None, num_nodes: int) -> InputError:
    return InputError(f"{table.name}: has {found} rows; allowed: {num_nodes}, one for each node that has a label")
