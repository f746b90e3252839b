"""Checks of labels and splits. Each raises ArrayError for the first entry that violates what ``Graph`` promises."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ugts_dist.graphs.array_checks import check_range
from ugts_dist.graphs.array_error import array_error

Splits = Mapping[str, Tensor]
"""The node ids of train, valid and test, `[any]` int64."""


def check_splits(name: str, splits: Splits, num_nodes: int) -> None:
    """Splits have ascending ids of nodes, and none in common. All are empty in a graph without a split."""
    if not any(nodes.numel() for nodes in splits.values()):
        return
    owner = torch.full((num_nodes,), -1, dtype=torch.int8)
    for number, (array, nodes) in enumerate(splits.items()):
        if nodes.numel() == 0:
            raise array_error(name, array, "no nodes", "at least one")
        check_range(name, array, nodes, num_nodes)
        if bool((nodes[1:] <= nodes[:-1]).any()):
            node = int(nodes[1:][nodes[1:] <= nodes[:-1]][0])
            raise array_error(name, array, f"node {node} out of order or repeated", "ascending ids, each once")
        taken = nodes[owner[nodes] >= 0]
        if taken.numel():
            node = int(taken[0])
            other = list(splits)[int(owner[node])]
            raise array_error(name, array, f"node {node}, which is also in {other}", "splits without a common node")
        owner[nodes] = number


def check_classes(name: str, y: Tensor, num_classes: int, splits: Splits) -> None:
    """Classes `[num_nodes]` are in range, and known for each node of a split."""
    allowed = f"0 to {num_classes - 1} (num_classes is {num_classes}), negative only outside the splits"
    allowed = allowed if num_classes else "negative (num_classes is 0)"
    wrong = y >= num_classes
    for nodes in splits.values():
        wrong[nodes] |= y[nodes] < 0
    if bool(wrong.any()):
        node = int(wrong.nonzero()[0])
        raise array_error(name, "y", f"label {int(y[node])} of node {node}", allowed)


def check_numbers(name: str, y: Tensor, splits: Splits) -> None:
    """Labels or targets `[num_nodes, columns]` are finite or unknown, and some of each node in a split are known."""
    if bool(y.isinf().any()):
        node, column = y.isinf().nonzero()[0].tolist()
        found = f"{float(y[node, column])} of node {node}, column {column}"
        raise array_error(name, "y", found, "finite numbers, or NaN if unknown")
    for split, nodes in splits.items():
        unknown = y[nodes].isnan().all(1)
        if bool(unknown.any()):
            found = f"no known number of node {int(nodes[unknown][0])}, which is in {split}"
            raise array_error(name, "y", found, "at least one for each node of a split")
