"""Weights and features of edges: what is allowed, and the rule for repeated edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.array_error import array_error

_BLOCK = 1 << 20  # numbers that are checked at once

Keys = NDArray[np.int64]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class EdgeColumns:
    """The columns of a table of edge values: the weight first, if there is one, then the features."""

    weighted: bool = False
    num_features: int = 0

    @property
    def number(self) -> int:
        return int(self.weighted) + self.num_features

    def merged(self, keys: Keys, values: Values) -> tuple[Keys, Values]:
        """Ascending keys without repetition, and the values of each: [num_edges], [num_edges, number].

        The weight of a repeated edge is the sum of its weights, as PyG's ``coalesce`` has it; its features must be
        equal. The result does not depend on the order of the rows. Raises RepeatedEdgeError.
        """
        order = np.lexsort((values[:, 0], keys)) if self.weighted else np.argsort(keys)
        keys, values = keys[order], values[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        if len(starts) == len(keys):
            return keys, values
        first = values[starts]
        own = int(self.weighted)
        again = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
        differs = (values[:, own:] != first[again, own:]).any(axis=1)
        if differs.any():
            raise RepeatedEdgeError(int(keys[np.flatnonzero(differs)[0]]))
        if self.weighted:
            with np.errstate(over="ignore"):
                first[:, 0] = np.add.reduceat(values[:, 0].astype(np.float64), starts)
        return keys[starts], first


class RepeatedEdgeError(Exception):
    """An edge that occurs with different features; ``key`` is its number, as ``csr.from_keys`` has it."""

    def __init__(self, key: int) -> None:
        super().__init__(key)
        self.key = key

    def error(self, name: str, num_nodes: int) -> InputError:
        """The error for the user."""
        destination, source = divmod(self.key, num_nodes)
        return InputError(
            f"{name}: the edge from node {source} to node {destination} occurs with different features; "
            "allowed: each edge once, or with equal features, or no features"
        )


def merged_edges(
    name: str, keys: Tensor, num_nodes: int, edge_weight: Tensor | None, edge_attr: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Edges in any order and with repetitions, sorted and merged by the rule of ``EdgeColumns.merged``.

    Args:
        name: of the graph, for messages.
        keys: one number per edge, as in `csr.from_keys`, int64 `[number of rows]`.
        num_nodes: of the graph.
        edge_weight: `[number of rows]`.
        edge_attr: `[number of rows, num_edge_features]`.

    Returns keys, weights and features of the edges. Raises InputError for equal edges with different features.
    """
    if edge_weight is None and edge_attr is None:
        return torch.unique(keys), None, None
    columns = EdgeColumns(edge_weight is not None, 0 if edge_attr is None else edge_attr.size(1))
    parts = [] if edge_weight is None else [edge_weight[:, None]]
    parts += [] if edge_attr is None else [edge_attr]
    try:
        edges, values = columns.merged(keys.numpy(), torch.cat([part.float() for part in parts], dim=1).numpy())
    except RepeatedEdgeError as repeated:
        raise repeated.error(name, num_nodes) from None
    table = torch.from_numpy(values)
    own = int(columns.weighted)
    return (
        torch.from_numpy(edges),
        table[:, 0].contiguous() if columns.weighted else None,
        table[:, own:].contiguous() if edge_attr is not None else None,
    )


def check_edge_data(name: str, num_edges: int, edge_weight: Tensor | None, edge_attr: Tensor | None) -> None:
    """Raise ArrayError for weights that are negative or not finite, features that are not finite, and wrong shapes.

    Numbers are read in blocks, so that memory-mapped arrays may be larger than the memory.
    """
    if edge_weight is not None:
        if edge_weight.shape != (num_edges,) or edge_weight.dtype != torch.float32:
            found = f"shape {tuple(edge_weight.shape)} of {edge_weight.dtype}"
            raise array_error(name, "edge_weight", found, f"shape ({num_edges},) of torch.float32")
        for first, block in zip(range(0, num_edges, _BLOCK), edge_weight.split(_BLOCK), strict=False):
            wrong = ~(block.isfinite() & (block >= 0))
            if bool(wrong.any()):
                edge = int(wrong.nonzero()[0])
                found = f"{float(block[edge])} at edge {first + edge}"
                raise array_error(name, "edge_weight", found, "finite numbers, 0 or more")
    if edge_attr is not None:
        if edge_attr.dim() != 2 or edge_attr.size(0) != num_edges or edge_attr.dtype != torch.float32:
            found = f"shape {tuple(edge_attr.shape)} of {edge_attr.dtype}"
            raise array_error(name, "edge_attr", found, f"shape ({num_edges}, num_edge_features) of torch.float32")
        if edge_attr.size(1) == 0:
            raise array_error(name, "edge_attr", f"shape {tuple(edge_attr.shape)}", "at least one feature")
        rows = max(1, _BLOCK // edge_attr.size(1))
        for first, block in zip(range(0, num_edges, rows), edge_attr.split(rows), strict=False):
            wrong = ~block.isfinite()
            if bool(wrong.any()):
                edge, feature = wrong.nonzero()[0].tolist()
                found = f"{float(block[edge, feature])} at edge {first + edge}, feature {feature}"
                raise array_error(name, "edge_attr", found, "finite numbers")
