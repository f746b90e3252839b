"""Properties of a graph that determine its settings: counts, features, labels and edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.csr import positions_of_rows, row_pointers
from ugts_dist.graphs.feature_share import LOOKED_AT, every_few
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.standardize import ColumnStatistics, relative_deviations

_EDGES_LOOKED_AT = 1 << 22


@dataclass(frozen=True)
class Traits:
    """Attributes:
    density: fraction of the features that are not zero.
    varies: whether some feature differs between nodes.
    spread: the largest deviation of a column divided by the median one.
    num_labels: labelled training nodes.
    num_known_edges: edges between training nodes; of a sample of nodes if there are many.
    homophily: how much the labels at the ends of an edge between training nodes agree beyond chance: 1 always, 0 as
        random labels (Platonov et al. 2023, adjusted homophily); 0 without such edges.
    weighted: whether edges have weights.
    has_classes: whether each node has one class; otherwise it has several labels or targets.
    """

    num_nodes: int
    num_edges: int
    num_features: int
    num_classes: int
    num_labels: int
    density: float
    varies: bool
    num_known_edges: int
    homophily: float
    weighted: bool = False
    has_classes: bool = True
    spread: float = 1.0

    @property
    def labels_a_feature(self) -> float:
        """Labels per feature: how well labels determine the weights that read the features."""
        return self.num_labels / self.num_features

    @classmethod
    def of(cls, graph: Graph) -> Traits:
        """The properties of a graph, from some rows of its features and the labels of its training nodes only."""
        some = _some(graph.some_features)
        own, theirs = _ends(graph)
        return cls(
            num_nodes=graph.num_nodes,
            num_edges=graph.num_edges,
            num_features=graph.num_features,
            num_classes=graph.num_classes,
            num_labels=graph.train.numel(),
            density=density(graph.some_features),
            varies=bool((some != some[0]).any()),
            num_known_edges=own.numel(),
            homophily=_homophily(own, theirs),
            weighted=graph.edge_weight is not None,
            has_classes=graph.has_classes,
            spread=float(relative_deviations(ColumnStatistics.of(some).deviation).max()),
        )


def density(x: Tensor) -> float:
    """The fraction of features `[num_nodes, num_features]` that are not zero, from a sample of nodes."""
    return float((_some(x) != 0).float().mean())


def _some(x: Tensor) -> Tensor:
    return every_few(x, LOOKED_AT).float()


def _homophily(own: Tensor, theirs: Tensor) -> float:
    """Adjusted homophily of edges with these labels at their ends."""
    if not own.numel():
        return 0.0
    agreeing = float((own == theirs).double().mean())
    # Agreement by chance, each class weighted by its number of ends of edges.
    ends = torch.cat([own, theirs]).bincount().double()
    chance = float((ends / ends.sum()).square().sum())
    return (agreeing - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def _ends(graph: Graph) -> tuple[Tensor, Tensor]:
    """The classes at both ends of edges between training nodes, or of a sample of them: two `[edges]`.

    None of nodes without classes.
    """
    if not graph.has_classes:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    labels = torch.full((graph.num_nodes,), -1, dtype=torch.int64)
    labels[graph.train] = graph.y[graph.train]
    nodes = graph.train[:: max(1, graph.num_edges // _EDGES_LOOKED_AT)]
    degrees = graph.indptr[nodes + 1] - graph.indptr[nodes]
    indptr = row_pointers(degrees)
    places = positions_of_rows(graph.indptr[nodes], degrees, indptr, int(indptr[-1]))
    own, theirs = labels[nodes].repeat_interleave(degrees), labels[graph.indices[places].long()]
    known = theirs >= 0
    return own[known], theirs[known]
