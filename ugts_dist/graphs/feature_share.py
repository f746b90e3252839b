"""A host's share of the features of a graph: the rows of some consecutive nodes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

SAMPLE = "feature_sample"  # an extra array of a store with a share
LOOKED_AT = 4096  # nodes whose features tell of those of all


@dataclass(frozen=True, eq=False)
class FeatureShare:
    """One of equal parts of the nodes of a graph, whose features a host has.

    Attributes:
        part: its number, from 0 on.
        parts: how many there are.
        start: the first of its nodes.
        stop: the node after its last one.
        sample: features of nodes from the whole graph, as `every_few` takes them or all, `[any, num_features]`.
    """

    part: int
    parts: int
    start: int
    stop: int
    sample: Tensor

    @classmethod
    def of(cls, part: int, parts: int, num_nodes: int, sample: Tensor) -> FeatureShare:
        """The share with a number."""
        return cls(part, parts, num_nodes * part // parts, num_nodes * (part + 1) // parts, sample)

    @property
    def num_nodes(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        """As users write it, from 1 on: "2/3"."""
        return f"{self.part + 1}/{self.parts}"


def every_few(x: Tensor, count: int) -> Tensor:
    """At most `count` rows at equal distances, not copied. Of such rows it returns all."""
    return x[:: -(-x.shape[0] // count)]
