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
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.label_numbers import Numbers
from ugts_dist.graphs.node_ids import NodeIds
from ugts_dist.graphs.random_split import RandomSplit
from ugts_dist.graphs.raw_edges import RawEdges, write_edges
from ugts_dist.graphs.raw_labels import NodeLabels, read_classes
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
    labels: Table | Numbers  # one class per node, negative: no label, as for all nodes of a graph without; or numbers
    splits: Mapping[str, Table]  # train, valid, test: node ids, or true and false by node; empty: drawn, or no split
    undirected: bool  # add the reverse of each edge
    num_classes: int | None = None  # None: one more than the highest label
    num_nodes: int | None = None  # expected number of rows of the labels, if known
    num_edges: int | None = None  # expected number of rows of the edges, if known
    features_of: Integers | None = None  # [num_nodes] the node of each row of the features; None: they are in order
    ids: NodeIds | None = None  # the nodes' ids in the user's files; None: 0, 1, 2, ...
    class_names: tuple[str, ...] = ()  # if the labels are words
    random_split: RandomSplit | None = None  # draws the splits; None without splits: for prediction and links
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
    """Write the graph as a store. Memory: some 30 bytes per node, 4 per number of a label, a byte per edge, and 50 MiB.

    Repeated edges and self loops are dropped. ``progress`` is called with the name of the stage and its finished
    fraction. Temporary files beside the arrays take 8 bytes per edge, and 4 for its weight and for each of its features
    (twice that if undirected). ``tell`` is called with a line if labels have gaps, so that classes are renumbered, if
    the split is drawn, and if weights are summed. Raises InputError that names file and row, and as StoreWriter does.
    """
    labels, splits = checked_nodes(raw, tell)
    num_nodes = labels.num_nodes
    with StoreWriter(folder, raw.name, labels.checked(splits), origin, labels.class_names) as store:
        labels.write(store)
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


def checked_nodes(raw: RawGraph, tell: Callable[[str], None]) -> tuple[NodeLabels, dict[str, Integers]]:
    """The labels, and the ascending nodes of each split. ``tell`` and errors are those of ``write_raw``."""
    labels = _labels(raw, tell)
    splits = _splits(raw, labels, tell)
    _refuse_common(raw, labels.num_nodes, splits)
    return labels, splits


def _labels(raw: RawGraph, tell: Callable[[str], None]) -> NodeLabels:
    if isinstance(raw.labels, Numbers):
        labels: NodeLabels = raw.labels
    else:
        expected = raw.num_nodes or raw.features.num_rows
        labels = read_classes(raw.labels, expected, raw.class_names, raw.num_classes)
    num_nodes = labels.num_nodes
    if not num_nodes:
        raise InputError(f"{raw.labels.name}: has no rows; allowed: one for each node")
    if raw.num_nodes not in (None, num_nodes):
        raise InputError(f"{raw.labels.name}: has {num_nodes} rows; allowed: {raw.num_nodes}, the number of nodes")
    if raw.features.num_rows not in (None, num_nodes):
        raise _unequal(raw.features, raw.features.num_rows, num_nodes)
    return labels.numbered(tell)


def _splits(raw: RawGraph, labels: NodeLabels, tell: Callable[[str], None]) -> dict[str, Integers]:
    """The ascending nodes of each split: those of its table, or drawn ones; empty if the graph has no split."""
    if raw.random_split is None and not raw.splits:
        return {array: np.empty(0, dtype=np.int64) for array in SPLITS}
    if raw.random_split is None:
        return {array: _node_ids(table, labels.num_nodes) for array, table in raw.splits.items()}
    labelled = labels.labelled()
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


def _refuse_common(raw: RawGraph, num_nodes: int, splits: Mapping[str, Integers]) -> None:
    """Raise InputError for a node that is in two splits."""
    owner = np.full(num_nodes, -1, dtype=np.int8)
    arrays = list(splits)
    for number, (array, nodes) in enumerate(splits.items()):
        taken = nodes[owner[nodes] >= 0]
        if len(taken):
            other = raw.splits[arrays[owner[taken[0]]]].name
            raise InputError(f"{raw.splits[array].name}: has node {taken[0]}, which is also in {other}")
        owner[nodes] = number


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
        lowest = min((float(block.min()) for block in float_blocks(raw, num_nodes, report)), default=0.0)
    for block in float_blocks(raw, num_nodes, stage(progress, "features")):
        if row_normalize:
            x = torch.from_numpy(block - np.float32(lowest))
            yield x.div_(x.sum(dim=-1, keepdim=True).clamp_(min=1.0)).numpy()
        else:
            yield block


def float_blocks(raw: RawGraph, num_nodes: int, report: Report) -> Iterator[NDArray[np.float32]]:
    """The features as they are, in blocks of rows. Raises InputError that names the row of a number."""
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
