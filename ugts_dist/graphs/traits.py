"""What of a graph decides which settings fit it: counts, and how its features, labels and edges are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.csr import positions_of_rows, row_pointers
from ugts_dist.graphs.graph import Graph

_LOOKED_AT = 4096  # nodes whose features are looked at
_EDGES_LOOKED_AT = 1 << 22


@dataclass(frozen=True)
class Traits:
    """Attributes:
    density: part of the features that are not zero.
    varies: whether some feature differs between nodes.
    num_labels: labelled training nodes.
    num_known_edges: edges between training nodes, those of some nodes where there are many.
    homophily: how far the ends of an edge between training nodes agree beyond chance: 1 always, 0 as if labels were
        drawn (Platonov et al. 2023, adjusted homophily); 0 where no edge tells.
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

    @property
    def labels_a_feature(self) -> float:
        """How well labels determine the weights that read the features."""
        return self.num_labels / self.num_features

    @classmethod
    def of(cls, graph: Graph) -> Traits:
        """Look at a graph: at some rows of its features, and at the labels of its training nodes alone."""
        some = _some(graph.x)
        own, theirs = _ends(graph)
        return cls(
            num_nodes=graph.num_nodes,
            num_edges=graph.num_edges,
            num_features=graph.num_features,
            num_classes=graph.num_classes,
            num_labels=graph.train.numel(),
            density=density(graph.x),
            varies=bool((some != some[0]).any()),
            num_known_edges=own.numel(),
            homophily=_homophily(own, theirs),
        )


def density(x: Tensor) -> float:
    """The part of features `[num_nodes, num_features]` that are not zero, by some of the nodes."""
    return float((_some(x) != 0).float().mean())


def _some(x: Tensor) -> Tensor:
    return x[:: -(-x.shape[0] // _LOOKED_AT)].float()


def _homophily(own: Tensor, theirs: Tensor) -> float:
    """Adjusted homophily of edges by the labels at their ends."""
    if not own.numel():
        return 0.0
    agreeing = float((own == theirs).double().mean())
    # What labels would agree by chance, each class counted as often as it stands at an end of an edge.
    ends = torch.cat([own, theirs]).bincount().double()
    chance = float((ends / ends.sum()).square().sum())
    return (agreeing - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def _ends(graph: Graph) -> tuple[Tensor, Tensor]:
    """The labels at both ends of edges between training nodes, of some nodes where there are many: two of `[edges]`."""
    labels = torch.full((graph.num_nodes,), -1, dtype=torch.int64)
    labels[graph.train] = graph.y[graph.train]
    nodes = graph.train[:: max(1, graph.num_edges // _EDGES_LOOKED_AT)]
    degrees = graph.indptr[nodes + 1] - graph.indptr[nodes]
    indptr = row_pointers(degrees)
    places = positions_of_rows(graph.indptr[nodes], degrees, indptr, int(indptr[-1]))
    own, theirs = labels[nodes].repeat_interleave(degrees), labels[graph.indices[places].long()]
    return own[theirs >= 0], theirs[theirs >= 0]
