"""One node-classification graph: in-neighbours in CSR form, features, labels and a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ugts_dist.csr import from_keys, row_sums
from ugts_dist.errors import InputError
from ugts_dist.graphs.array_checks import check_features, check_neighbours, check_range
from ugts_dist.graphs.array_error import array_error
from ugts_dist.graphs.edge_data import check_edge_data, merged_edges
from ugts_dist.graphs.feature_share import FeatureShare
from ugts_dist.graphs.label_check import check_classes, check_numbers, check_splits
from ugts_dist.graphs.standardize import ColumnStatistics
from ugts_dist.index_type import index_type


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed graph whose nodes have features, and labels and a split unless it is for prediction and links.

    The in-neighbours of node ``v`` are ``indices[indptr[v]:indptr[v + 1]]``, ascending and without repetition. There
    are no self loops; layers that need them add their own.
    """

    name: str
    x: Tensor  # [num_nodes, num_features] float32, or bfloat16
    indptr: Tensor  # [num_nodes + 1] int64
    indices: Tensor  # [num_edges] int32, or int64 if num_nodes requires it
    y: Tensor  # classes [num_nodes] int64, negative: none; or numbers [num_nodes, num_classes] float32, NaN: unknown
    train: Tensor  # [num_train] int64 node ids, ascending
    valid: Tensor  # [num_valid] int64 node ids, ascending
    test: Tensor  # [num_test] int64 node ids, ascending
    num_classes: int  # width of the output: number of classes, or of labels or targets at once; 0: no node has a label
    edge_weight: Tensor | None = None  # [num_edges] float32, as `indices`; finite, 0 or more
    edge_attr: Tensor | None = None  # [num_edges, num_edge_features] float32, as `indices`; finite
    digests: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of the arrays' files, if known
    class_names: tuple[str, ...] = ()  # one per class, or none
    statistics: ColumnStatistics | None = None  # with which x is standardised
    share: FeatureShare | None = None  # the nodes whose features are in `x`; None: all

    @property
    def num_nodes(self) -> int:
        return self.indptr.numel() - 1

    @property
    def num_edges(self) -> int:
        return self.indices.numel()

    @property
    def num_features(self) -> int:
        return self.x.size(1)

    @property
    def some_features(self) -> Tensor:
        """The features of all nodes, or of a sample of them that is the same on every host."""
        return self.x if self.share is None else self.share.sample

    @property
    def has_split(self) -> bool:
        """Whether there are nodes to train and evaluate on. Without a split the graph is for prediction and links."""
        return self.train.numel() + self.valid.numel() + self.test.numel() > 0

    @property
    def has_classes(self) -> bool:
        """Whether each node has one class, not several labels or targets."""
        return not self.y.is_floating_point()

    @property
    def degree(self) -> Tensor:
        """In-degree of every node, [num_nodes] int64."""
        return self.indptr.diff()

    @property
    def has_edge_data(self) -> bool:
        """Whether edges have weights or features."""
        return self.edge_weight is not None or self.edge_attr is not None

    @cached_property
    def weighted_degree(self) -> Tensor | None:
        """The sum of the weights of each node's in-edges, [num_nodes] float32; None if edges have no weights."""
        return None if self.edge_weight is None else row_sums(self.edge_weight, self.indptr)


def from_edges(
    name: str,
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    train: Tensor,
    valid: Tensor,
    test: Tensor,
    num_classes: int | None = None,
    edge_weight: Tensor | None = None,
    edge_attr: Tensor | None = None,
) -> Graph:
    """Build a checked graph from a list of edges.

    ``edge_index`` is [2, number of edges], sources above destinations. Directions are kept; repeated edges and self
    loops are dropped. ``edge_weight`` [number of edges] and ``edge_attr`` [number of edges, num_edge_features] belong
    to ``edge_index``; weights of repeated edges are summed, and their features must be equal. ``y`` is classes
    [num_nodes], negative if unknown, or floats [num_nodes, columns]: several labels (0 or 1) or targets at once, NaN if
    unknown. ``train``, ``valid`` and ``test`` are node ids in any order, or boolean masks [num_nodes]; all three may be
    empty.
    Raises InputError as ``validate`` does.
    """
    if x.dim() != 2 or x.size(0) == 0:
        raise array_error(name, "x", f"shape {tuple(x.shape)}", "[num_nodes, num_features] with at least one node")
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype not in (torch.int32, torch.int64):
        found = f"shape {tuple(edge_index.shape)} of {edge_index.dtype}"
        raise array_error(name, "edge_index", found, "shape (2, num_edges) of int64")
    if y.numel() == 0 or y.dim() != 1 + y.is_floating_point():
        allowed = f"whole numbers of shape ({x.size(0)},), or floats of shape ({x.size(0)}, columns)"
        raise array_error(name, "y", f"{y.dtype} of shape {tuple(y.shape)}", allowed)
    num_nodes = x.size(0)
    # Below, out-of-range ends would silently become other edges, so they are checked first.
    check_range(name, "edge_index", edge_index, num_nodes)
    source, destination = edge_index.long()
    keep = source != destination
    if edge_weight is not None or edge_attr is not None:
        edge_weight, edge_attr = _edge_data(name, edge_index.size(1), edge_weight, edge_attr, keep)
    # One number per edge sorts by destination, then source; merging drops repetitions.
    keys = destination[keep] * num_nodes + source[keep]
    edges, edge_weight, edge_attr = merged_edges(name, keys, num_nodes, edge_weight, edge_attr)
    indptr, indices = from_keys(edges, num_nodes, index_type(num_nodes))
    graph = Graph(
        name=name,
        x=x.float().contiguous(),
        indptr=indptr,
        indices=indices,
        y=y.float().contiguous() if y.is_floating_point() else y.long(),
        train=_node_ids(name, "train", train, num_nodes),
        valid=_node_ids(name, "valid", valid, num_nodes),
        test=_node_ids(name, "test", test, num_nodes),
        num_classes=num_classes or (y.shape[1] if y.is_floating_point() else max(0, int(y.max()) + 1)),
        edge_weight=edge_weight,
        edge_attr=edge_attr,
    )
    validate(graph)
    return graph


def _edge_data(
    name: str, num_rows: int, edge_weight: Tensor | None, edge_attr: Tensor | None, keep: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Checked weights and features of the edges that are kept. Raises InputError."""
    edge_weight, edge_attr = (None if values is None else values.float() for values in (edge_weight, edge_attr))
    check_edge_data(name, num_rows, edge_weight, edge_attr)
    return (
        None if edge_weight is None else edge_weight[keep],
        None if edge_attr is None else edge_attr[keep],
    )


def _node_ids(name: str, array: str, nodes: Tensor, num_nodes: int) -> Tensor:
    """Ascending node ids of ids in any order, or of a boolean mask as PyG's datasets have it."""
    if nodes.dtype != torch.bool:
        return nodes.long().sort().values
    if nodes.shape != (num_nodes,):
        raise array_error(
            name, array, f"a mask of shape {tuple(nodes.shape)}", f"a mask of shape ({num_nodes},), or ids"
        )
    return nodes.nonzero().flatten()


def neighbours(graph: Graph, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """The in-neighbours of nodes ``start`` to ``stop``: a row pointer that begins at 0, and the indices, not copied.

    Raises InputError if a number leads out of the graph, as in a file that changed since its check: the kernels of
    sparse products do not check.
    """
    indptr = graph.indptr[start : stop + 1] - graph.indptr[start]
    first, last = int(graph.indptr[start]), int(graph.indptr[stop])
    indices = graph.indices[max(first, 0) : max(last, 0)]
    fits = indices.numel() == last - first == int(indptr[-1]) and bool((indptr.diff() >= 0).all())
    if fits and indices.numel():
        low, high = indices.aminmax()
        fits = int(low) >= 0 and int(high) < graph.num_nodes
    if not fits:
        raise InputError(f"{graph.name}: indptr or indices lead out of the graph; its files changed while it was used")
    return indptr, indices


def validate(graph: Graph) -> None:
    """Raise ArrayError, in one line, for the first array of the graph that violates what ``Graph`` promises.

    No array is indexed with unchecked numbers. Features and edges are read in blocks, so that a memory-mapped graph may
    be larger than the memory; the rest takes some 20 bytes per node.
    """
    _check_layout(graph)
    if graph.share is None:
        check_features(graph.name, graph.x)
    else:
        check_features(graph.name, graph.x[graph.share.start : graph.share.stop], graph.share.start)
    check_neighbours(graph.name, graph.indptr, graph.indices)
    check_edge_data(graph.name, graph.num_edges, graph.edge_weight, graph.edge_attr)
    splits = {"train": graph.train, "valid": graph.valid, "test": graph.test}
    check_splits(graph.name, splits, graph.num_nodes)
    if graph.has_classes:
        check_classes(graph.name, graph.y, graph.num_classes, splits)
    else:
        check_numbers(graph.name, graph.y, splits)


def require_split(graph: Graph) -> Graph:
    """The graph itself. Raises InputError if it has no split, enough for prediction and links."""
    if graph.has_split:
        return graph
    missing, options = "no split", "--split-random 60/20/20"
    if not bool((graph.y >= 0 if graph.has_classes else ~graph.y.isnan()).any()):
        missing, options = "no labels and no split", f"--labels FILE (or y in --data) and {options}"
    raise InputError(
        f"{graph.name}: has {missing}, enough for `ugts predict` and --task.kind link; for anything else, prepare it "
        f"again with {options} (or --train, --valid and --test); in Python: random_split='60/20/20'"
    )


def _check_layout(graph: Graph) -> None:
    num_nodes = graph.num_nodes
    if num_nodes < 1:
        raise array_error(graph.name, "indptr", f"{graph.indptr.numel()} entries", "at least 2 (one node)")
    integers = (torch.int64,)
    expected: dict[str, tuple[Tensor, tuple[int, ...], tuple[torch.dtype, ...]]] = {
        "x": (graph.x, (num_nodes, graph.x.size(-1) if graph.x.dim() == 2 else -1), (torch.float32, torch.bfloat16)),
        "indptr": (graph.indptr, (num_nodes + 1,), integers),
        "indices": (graph.indices, (graph.num_edges,), (torch.int32, torch.int64)),
        "y": (graph.y, (num_nodes,), integers)
        if graph.has_classes
        else (graph.y, (num_nodes, graph.num_classes), (torch.float32,)),
        "train": (graph.train, (graph.train.numel(),), integers),
        "valid": (graph.valid, (graph.valid.numel(),), integers),
        "test": (graph.test, (graph.test.numel(),), integers),
    }
    for array, (tensor, shape, dtypes) in expected.items():
        if tuple(tensor.shape) != shape:
            wanted = f"({num_nodes}, num_features)" if array == "x" else str(shape)
            raise array_error(graph.name, array, f"shape {tuple(tensor.shape)}", f"shape {wanted}")
        if tensor.dtype not in dtypes:
            raise array_error(graph.name, array, str(tensor.dtype), " or ".join(map(str, dtypes)))
