"""A graph in memory: a PyG ``Data`` with its split, as a ``Graph``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from ugts_dist.csr import from_keys
from ugts_dist.graphs.edge_data import merged_edges
from ugts_dist.graphs.edge_tables import EdgeReader
from ugts_dist.graphs.graph import Graph, validate
from ugts_dist.graphs.pyg_fields import MASKS, Fields, read_fields
from ugts_dist.graphs.random_split import RandomSplit
from ugts_dist.graphs.raw import RawGraph, checked_nodes, float_blocks
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.tables import check_ids, silent
from ugts_dist.index_type import index_type

_log = logging.getLogger(__name__)


def graph_of(data: Data, name: str, split: int = 0, random_split: str = "", seed: int = 0) -> Graph:
    """The graph of a PyG ``Data``, by the rules of `ugts prepare --data` (``pyg_fields.read_fields``).

    Without masks it has no split: for predictions and for links.

    Args:
        data: with x, edge_index (or adj_t) and y, and with edge_weight and edge_attr if it has them.
        name: of the graph.
        split: the column of masks with several splits.
        random_split: percentages for training, validation and test, such as "60/20/20", drawn from the labelled nodes
            with `seed`, instead of train_mask, val_mask and test_mask.
        seed: of the drawn split.

    Raises InputError, which names the field, for a field that is missing or wrong.
    """
    masks = {} if random_split else MASKS
    raw = read_fields(name, Fields("data.", data.to_dict()), split, _log.info, mask_fields=masks)
    if random_split:
        raw = replace(raw, random_split=RandomSplit.parse(random_split, seed))
    return _whole(raw, _log.info)


def _whole(raw: RawGraph, tell: Callable[[str], None]) -> Graph:
    """What ``write_raw`` writes, in memory; of a graph whose rows are in the order of its nodes."""
    labels, splits = checked_nodes(raw, tell)
    num_nodes, num_classes = labels.num_nodes, labels.checked(splits)
    keys, edge_weight, edge_attr = _edges(raw, num_nodes)
    edges, edge_weight, edge_attr = merged_edges(raw.edges.name, keys, num_nodes, edge_weight, edge_attr)
    indptr, indices = from_keys(edges, num_nodes, index_type(num_nodes))
    train, valid, test = (torch.from_numpy(splits[array]) for array in SPLITS)
    graph = Graph(
        name=raw.name,
        x=torch.from_numpy(_features(raw, num_nodes)),
        indptr=indptr,
        indices=indices,
        y=torch.from_numpy(labels.y),
        train=train,
        valid=valid,
        test=test,
        num_classes=num_classes,
        edge_weight=edge_weight,
        edge_attr=edge_attr,
        class_names=labels.class_names,
    )
    validate(graph)
    return graph


def _features(raw: RawGraph, num_nodes: int) -> NDArray[np.float32]:
    x, done = np.empty((num_nodes, raw.features.num_columns), dtype=np.float32), 0
    for block in float_blocks(raw, num_nodes, silent):
        x[done : done + len(block)] = block
        done += len(block)
    return x


def _edges(raw: RawGraph, num_nodes: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The number of each edge as in ``csr.from_keys``, its weight and features; without self loops."""
    ends, data = raw.edges.whole(), raw.edge_data
    check_ids(raw.edges, ends, 0, num_nodes)
    data.check(len(ends))
    reader = EdgeReader(data)
    values = torch.from_numpy(reader.take(len(ends)))
    reader.end()
    source, destination = torch.from_numpy(ends.astype(np.int64)).t()
    keep = source != destination
    values, own = values[keep], int(data.columns.weighted)
    return (
        destination[keep] * num_nodes + source[keep],
        values[:, 0] if own else None,
        values[:, own:] if data.columns.num_features else None,
    )
