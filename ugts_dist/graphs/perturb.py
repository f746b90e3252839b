"""Graphs with noise in features or edges, and graphs some of whose classes are unknown. The given graph, which may be
mapped read-only, is never changed.

Draws are hashes of (seed, kind of draw, node or edge): the same on every rank and machine. For one seed, a larger
fraction of nodes or edges contains a smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.csr import from_keys
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph

_NODES, _FEATURES, _EDGES, _ENDS, _CLASSES = range(0x4E4F4901, 0x4E4F4906)  # kinds of draws
_BLOCK = 1 << 22  # features that are drawn at once
_WORD = 64  # Bernoulli draws per hash
_LOOKED_AT = 4096  # nodes whose features are checked for row normalisation
_ROUNDING = 0.02  # of a sum of row-normalised features in bfloat16


@dataclass(frozen=True, eq=False)
class Unknown:
    """What a graph with left-out classes hides from a network.

    Attributes:
        classes: the left-out classes, by their numbers in the whole graph, ascending, `[num_left_out]`.
        test: the test nodes of these classes, ascending, `[num_unknown]`.
    """

    classes: Tensor
    test: Tensor


def feature_noise(graph: Graph, fraction: float, seed: int) -> Graph:
    """Replace the features of exactly `round(fraction * n)` of the n nodes outside the training set by Bernoulli noise.

    The noise is 0 or 1. It is divided by its sum if the graph's features are row-normalised, as always in the paper's
    code: if no checked node has negative features, or features with a sum above 1. All features are copied. (The
    paper's code draws from validation, test and other nodes separately.)
    """
    untrained = torch.ones(graph.num_nodes, dtype=torch.bool)
    untrained[graph.train] = False
    nodes = _drawn(hashing.key(_NODES, seed), untrained.nonzero()[:, 0], fraction)
    normalized, key = _is_row_normalized(graph.x), hashing.key(_FEATURES, seed)
    x = graph.x.clone()
    for some in nodes.split(max(1, _BLOCK // graph.num_features)):
        noise = _coins(key, some, graph.num_features)
        x[some] = (noise / noise.sum(1, keepdim=True).clamp(min=1.0) if normalized else noise).to(x.dtype)
    return replace(graph, x=x, digests=_without(graph.digests, "x"))


def edge_noise(graph: Graph, fraction: float, seed: int) -> Graph:
    """Replace the destination of exactly `round(fraction * num_edges)` directed edges by a random node.

    As in the paper's code, only the destination changes; labels and splits stay, and an edge keeps its weight and
    features. Draws that repeat an edge or give a self loop are drawn again. Temporary memory is some 50 bytes per edge.

    Raises InputError if a source has edges to so many nodes that too few others are left.
    """
    n = graph.num_nodes
    # One number per edge, ascending: destination, then source.
    edges = torch.arange(n).repeat_interleave(graph.degree).mul_(n).add_(graph.indices)
    moved = _drawn(hashing.key(_EDGES, seed), torch.arange(graph.num_edges), fraction)
    source = graph.indices[moved].long()
    _check_room(graph, source, fraction)
    kept = torch.ones(graph.num_edges, dtype=torch.bool)
    kept[moved] = False
    new, own = _moved(edges, moved, source, n, seed)
    keys, weight, attr = torch.cat([edges[kept], new]), graph.edge_weight, graph.edge_attr
    if graph.has_edge_data:
        order = torch.from_numpy(np.argsort(keys.numpy()))
        own = torch.cat([kept.nonzero()[:, 0], own])[order]
        weight, attr = (None if values is None else values[own] for values in (weight, attr))
    indptr, indices = from_keys(_ascending(keys), n, graph.indices.dtype)
    digests = _without(graph.digests, "indptr", "indices", "edge_weight", "edge_attr")
    return replace(graph, indptr=indptr, indices=indices, edge_weight=weight, edge_attr=attr, digests=digests)


def left_out_classes(graph: Graph, fraction: float, seed: int) -> tuple[Graph, Unknown]:
    """Leave out `floor(fraction * num_classes)` random classes: their nodes stay, without a label.

    They leave training, validation and test nodes; the other classes are numbered 0, 1, ... in their order. This is the
    leave-out-classes protocol of Stadler et al. 2021 (Graph Posterior Network), which the paper follows.

    Raises InputError for a graph without classes, if no class would be left out or fewer than two would be left, and if
    a split would have no nodes.
    """
    if not graph.has_classes:
        raise InputError(f"data.left_out is {fraction}, allowed is 0, as {graph.name} has numbers and no classes")
    count = math.floor(fraction * graph.num_classes + 1e-9)  # 0.29 * 100 is less than 29 in floating point
    if count < 1 or graph.num_classes - count < 2:
        raise InputError(
            f"data.left_out is {fraction}, which leaves out {count} of {graph.num_classes} classes of {graph.name}; "
            "allowed is what leaves out one or more and keeps two or more"
        )
    order = hashing.stream(hashing.key(_CLASSES, seed), torch.arange(graph.num_classes)).argsort()
    left_out = torch.zeros(graph.num_classes, dtype=torch.bool)
    left_out[order[:count]] = True
    number = (~left_out).cumsum(0) - 1
    number[left_out] = -1
    # For nodes without a label it makes no difference whether their class is left out.
    y = torch.where(graph.y < 0, -1, number[graph.y.clamp(min=0)])
    train, valid, test = (nodes[y[nodes] >= 0] for nodes in (graph.train, graph.valid, graph.test))
    for name, nodes in (("train", train), ("valid", valid), ("test", test)):
        if not nodes.numel():
            raise InputError(
                f"data.left_out is {fraction}, but all {name} nodes of {graph.name} are of the left-out classes; "
                "allowed is a part of the classes that leaves some, or another run.seed"
            )
    known = replace(
        graph,
        y=y,
        train=train,
        valid=valid,
        test=test,
        num_classes=graph.num_classes - count,
        class_names=tuple(name for name, out in zip(graph.class_names, left_out.tolist(), strict=False) if not out),
        digests=_without(graph.digests, "y", "train", "valid", "test"),
    )
    return known, Unknown(left_out.nonzero()[:, 0], graph.test[y[graph.test] < 0])


def _drawn(key: int, ids: Tensor, fraction: float) -> Tensor:
    """Exactly `round(fraction * len(ids))` of the ids, in their order."""
    count = round(fraction * ids.numel())
    if count == 0:
        return ids[:0]
    order = hashing.stream(key, ids)  # different for different ids
    return ids[order <= order.kthvalue(count).values]


def _coins(key: int, nodes: Tensor, width: int) -> Tensor:
    """A Bernoulli draw for each feature of each node: float32 `[num_nodes, width]`."""
    words = -(-width // _WORD)
    bits = hashing.stream(key, nodes[:, None] * words + torch.arange(words))
    tosses = (bits[:, :, None] >> torch.arange(_WORD)) & 1
    return tosses.flatten(1)[:, :width].float()


def _is_row_normalized(x: Tensor) -> bool:
    some = x[:: -(-x.shape[0] // _LOOKED_AT)].float()
    return bool(some.min() >= 0.0) and bool(some.sum(1).max() <= 1.0 + _ROUNDING)


def _moved(edges: Tensor, moved: Tensor, source: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The edges numbered `moved` with new ends, `end * n + source`, none of them among `edges`; and their old numbers.

    Both have the order in which the ends were drawn.
    """
    found, attempt = edges[:0], 0
    new_edges, numbers = [found], [moved[:0]]
    while moved.numel():
        end = hashing.below(hashing.stream(hashing.key(_ENDS, seed, attempt), moved), torch.tensor(n))
        new, order = (end * n + source).sort(stable=True)
        moved, source, end = moved[order], source[order], end[order]
        again = (end == source) | _contains(edges, new) | _contains(found, new)
        again[1:] |= new[1:] == new[:-1]
        new_edges.append(new[~again])
        numbers.append(moved[~again])
        found = _ascending(torch.cat([found, new[~again]]))
        moved, source, attempt = moved[again], source[again], attempt + 1
    return torch.cat(new_edges), torch.cat(numbers)


def _ascending(values: Tensor) -> Tensor:
    return torch.from_numpy(np.sort(values.numpy()))  # several times as fast as torch's


def _contains(ascending: Tensor, values: Tensor) -> Tensor:
    """Which of the values are in `ascending`."""
    if not ascending.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    place = torch.searchsorted(ascending, values).clamp_(max=ascending.numel() - 1)
    return ascending[place] == values


def _check_room(graph: Graph, source: Tensor, fraction: float) -> None:
    degree = torch.bincount(graph.indices, minlength=graph.num_nodes)
    moving = torch.bincount(source, minlength=graph.num_nodes)
    full = ((moving > 0) & (degree + moving > graph.num_nodes - 1)).nonzero()
    if full.numel():
        node = int(full[0])
        raise InputError(
            f"data.edge_noise is {fraction}, but of the {int(degree[node])} edges of node {node} of {graph.name} "
            f"{int(moving[node])} would need other ends, and {graph.num_nodes - 1 - int(degree[node])} are left"
        )


def _without(digests: Mapping[str, str], *changed: str) -> dict[str, str]:
    """The checksums of the unchanged arrays."""
    return {array: digest for array, digest in digests.items() if array not in changed}
