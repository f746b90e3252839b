"""The edges that one layer of one batch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from ugts_dist.models.sparse import Pattern, Rows

Sliceable = TypeVar("Sliceable", Tensor, Rows, Tensor | Rows)


@dataclass(eq=False)
class Block:
    """Messages from source nodes to destination nodes, in CSR form by destination.

    Destination i is source `start + i`. In a full batch sources and destinations are all nodes; in a sampled batch
    a destination has only some of its in-neighbours, and `degree` says how many there are in the whole graph.

    Attributes:
        indptr: `[num_dst + 1]`.
        indices: source of every edge, of the same integer type, `[num_edges]`; no self loops.
        degree: in-degree of each source node in the whole graph, `[num_src]`.
        start: the source that destination 0 is.
    """

    indptr: Tensor
    indices: Tensor
    degree: Tensor
    start: int = 0

    @property
    def num_src(self) -> int:
        return self.degree.numel()

    @property
    def num_dst(self) -> int:
        return self.indptr.numel() - 1

    def destinations(self, x: Sliceable) -> Sliceable:
        """The rows of `x` `[num_src, width]` that belong to destinations: `[num_dst, width]`."""
        return x[self.start : self.start + self.num_dst]

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor that the block holds, those kept of earlier calls included."""
        for value in vars(self).values():
            if isinstance(value, Tensor):
                yield value
        for kept in (vars(self).get("pattern"), *vars(self).get("looped", ())[:1]):
            if kept is not None:
                yield from kept.tensors()

    @cached_property
    def pattern(self) -> Pattern:
        """The edges alone."""
        return Pattern(self.indptr, self.indices, self.num_dst, self.num_src)

    @cached_property
    def looped(self) -> tuple[Pattern, Tensor]:
        """The edges and, last in each row, a self loop; and the position of every self loop."""
        row = torch.arange(self.num_dst, device=self.indptr.device)
        loops = (self.indptr[1:] + row).long()
        indices = torch.empty(self.indices.numel() + self.num_dst, dtype=self.indices.dtype, device=row.device)
        # Every edge moves on by one place for each loop before it. (A mask would make a GPU's host wait.)
        indices[torch.arange(self.indices.numel(), device=row.device) + self.pattern.rows] = self.indices
        indices[loops] = (row + self.start).to(indices.dtype)
        indptr = self.indptr + torch.arange(self.num_dst + 1, dtype=self.indptr.dtype, device=row.device)
        return Pattern(indptr, indices, self.num_dst, self.num_src), loops

    @cached_property
    def gcn_values(self) -> Tensor:
        """D^-1/2 (A + I) D^-1/2 (Kipf and Welling 2017) on `looped`, with the degrees of the whole graph.

        Where only k of a node's d in-neighbours were sampled, their terms are multiplied by d / k, which makes the
        sum an unbiased estimate of the full aggregation.
        """
        pattern, loops = self.looped
        scale = (self.degree + 1).rsqrt()
        values = scale[pattern.indices] * (self.destinations(scale) * self._inverse_fraction)[pattern.rows]
        values[loops] = self.destinations(scale).square()
        return values

    @cached_property
    def mean_values(self) -> Tensor:
        """Mean over the (sampled) in-neighbours, on `pattern`."""
        return self._count.clamp(min=1).reciprocal()[self.pattern.rows]

    @cached_property
    def sum_and_self_values(self) -> Tensor:
        """The node itself plus the sum over its in-neighbours (GIN, eps 0), on `looped`; unbiased when sampled."""
        pattern, loops = self.looped
        values = self._inverse_fraction[pattern.rows]
        values[loops] = 1.0
        return values

    @cached_property
    def mean_and_self_values(self) -> Tensor:
        """The node itself plus the mean over its in-neighbours, on `looped`."""
        pattern, loops = self.looped
        values = self._count.clamp(min=1).reciprocal()[pattern.rows]
        values[loops] = 1.0
        return values

    @property
    def _count(self) -> Tensor:
        """In-neighbours at hand, of each destination: float32 `[num_dst]`."""
        return self.indptr.diff().float()

    @property
    def _inverse_fraction(self) -> Tensor:
        """All in-neighbours over those at hand; 1 where all are: float32 `[num_dst]`."""
        return self.destinations(self.degree).float() / self._count.clamp(min=1)
