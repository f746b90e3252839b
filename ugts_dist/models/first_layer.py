"""The input of a first layer whose aggregation is done: it is the same in every step, as features have no gradient.

Chen et al. 2018, "Stochastic Training of Graph Convolutional Networks with Variance Reduction" (arXiv 1710.10568),
section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ugts_dist.models.sparse import Features, feature_tensors


@dataclass(eq=False)
class Aggregated:
    """Features of some nodes, and of all their in-neighbours, aggregated as a layer type does it.

    Attributes:
        neighbours: what `aggregate_features` returns, of these nodes: `[num_nodes, num_features]`.
        own: the features of the nodes themselves, for GraphSAGE, `[num_nodes, num_features]`; otherwise None.
    """

    neighbours: Features
    own: Features | None = None

    def parts(self) -> Iterator[Features]:
        """Both tables, if there are two."""
        yield self.neighbours
        if self.own is not None:
            yield self.own


Input = Features | Aggregated
"""What the first layer of a network gets."""


def input_tensors(x: Input) -> Iterator[Tensor]:
    """All tensors that an input consists of."""
    for part in x.parts() if isinstance(x, Aggregated) else (x,):
        yield from feature_tensors(part)
