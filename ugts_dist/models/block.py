"""The edges of one layer in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from ugts_dist.csr import row_sums
from ugts_dist.index_type import index_type
from ugts_dist.models.sparse import Pattern, Rows

Sliceable = TypeVar("Sliceable", Tensor, Rows, Tensor | Rows)


@dataclass(eq=False)
class Block:
    """Messages from source nodes to destination nodes, in CSR form by destination.

    Destination i is source `start + i`. In a full batch, sources and destinations are all nodes. In a sampled batch, a
    destination has only some of its in-neighbours; `degree` is their number in the whole graph.

    Attributes:
        indptr: `[num_dst + 1]`.
        indices: source of every edge, of the same integer type, `[num_edges]`; no self loops.
        degree: in-degree of each source node in the whole graph, `[num_src]`.
        start: the source index of destination 0.
        kept: 1 for edges that count and 0 for others, float32 `[num_edges]`; None if all count.
        whole: the block that a thinned block was made from.
        weight: weight of every edge, float32 `[num_edges]`; None if edges have none.
        attr: features of every edge, float32 `[num_edges, num_edge_features]`; None if edges have none.
        weighted_degree: the sum of the weights of each source node's in-edges in the whole graph, `[num_src]`; given if
            `weight` is.
    """

    indptr: Tensor
    indices: Tensor
    degree: Tensor
    start: int = 0
    kept: Tensor | None = None
    whole: Block | None = None
    weight: Tensor | None = None
    attr: Tensor | None = None
    weighted_degree: Tensor | None = None

    @property
    def num_src(self) -> int:
        return self.degree.numel()

    @property
    def num_dst(self) -> int:
        return self.indptr.numel() - 1

    def destinations(self, x: Sliceable) -> Sliceable:
        """The rows of `x` `[num_src, width]` that belong to destinations: `[num_dst, width]`."""
        return x if self.num_dst == self.num_src else x[self.start : self.start + self.num_dst]

    def thinned(self, kept: Tensor, degree: Tensor | None = None, weighted_degree: Tensor | None = None) -> Block:
        """The same block without the dropped edges.

        Dropped edges get weight 0 but keep their places. So no shape depends on what was dropped, for which a GPU's
        host would have to wait, and the structure is computed once for all steps.

        Args:
            kept: bool `[num_edges]`.
            degree: in-degree of each source in the thinned graph, `[num_src]`; by default that in this block.
            weighted_degree: the same with weights; by default that in this block.
        """
        counts = kept.float()
        thin = replace(self, kept=counts, whole=self)
        thin.degree = self._of_destinations(thin._count) if degree is None else degree
        if self.weight is not None and weighted_degree is None:
            weighted_degree = self._of_destinations(row_sums(self.weight * counts, self.indptr))
        thin.weighted_degree = weighted_degree
        return thin

    def counted(self) -> Block:
        """The same block with its own degrees instead of those in the whole graph; 0 for other than destinations."""
        degree = self._of_destinations(self.indptr.diff().to(self.degree.dtype))
        weighted = None if self.weight is None else self._of_destinations(row_sums(self.weight, self.indptr))
        return replace(self, degree=degree, weighted_degree=weighted)

    def _of_destinations(self, values: Tensor) -> Tensor:
        """A value for each source: that of each destination `[num_dst]`, and 0 for other sources."""
        everyone = values.new_zeros(self.num_src)
        everyone[self.start : self.start + self.num_dst] = values
        return everyone

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the block, including cached ones."""
        for value in vars(self).values():
            if isinstance(value, Tensor):
                yield value
        for kept in (vars(self).get("pattern"), *vars(self).get("looped", ())[:1]):
            if kept is not None:
                yield from kept.tensors()
        if self.whole is not None:
            yield from self.whole.tensors()

    @cached_property
    def pattern(self) -> Pattern:
        """The edges without self loops."""
        if self.whole is not None:
            return self.whole.pattern
        return Pattern(self.indptr, self.indices, self.num_dst, self.num_src)

    @cached_property
    def looped(self) -> tuple[Pattern, Tensor]:
        """The edges with a self loop at the end of each row, and the position of every self loop."""
        if self.whole is not None:
            return self.whole.looped
        row = torch.arange(self.num_dst, device=self.indptr.device)
        loops = (self.indptr[1:] + row).long()
        num_entries = self.indices.numel() + self.num_dst
        index = index_type(num_entries, self.num_src)  # possibly wider than the type of the edges
        indices = torch.empty(num_entries, dtype=index, device=row.device)
        indices[self._places] = self.indices.to(index)
        indices[loops] = (row + self.start).to(index)
        indptr = self.indptr.to(index) + torch.arange(self.num_dst + 1, dtype=index, device=row.device)
        return Pattern(indptr, indices, self.num_dst, self.num_src), loops

    @cached_property
    def looped_kept(self) -> Tensor | None:
        """`kept` for every entry of `looped`; self loops always count."""
        if self.kept is None:
            return None
        kept = torch.ones(self.indices.numel() + self.num_dst, device=self.kept.device)
        kept[self._places] = self.kept
        return kept

    @cached_property
    def gcn_values(self) -> Tensor:
        """D^-1/2 (A + I) D^-1/2 (Kipf and Welling 2017) on `looped`, with the degrees of the whole graph.

        Edge weights are the entries of A, and degrees are then their sums, as in PyG's `gcn_norm`.

        If only k of a node's d in-neighbours were sampled, their terms are multiplied by d / k, which makes the sum an
        unbiased estimate of the full aggregation.
        """
        pattern, loops = self.looped
        scale = ((self.degree if self.weighted_degree is None else self.weighted_degree) + 1).rsqrt()
        values = scale[pattern.indices] * (self.destinations(scale) * self._inverse_fraction)[pattern.rows]
        values = _of_kept(values, self.looped_kept)
        if self.weight is not None:
            values[self._places] *= self.weight
        values[loops] = self.destinations(scale).square()
        return values

    @cached_property
    def mean_values(self) -> Tensor:
        """Mean over the (sampled) in-neighbours, on `pattern`."""
        return _of_kept(self._count.clamp(min=1).reciprocal()[self.pattern.rows], self.kept)

    @cached_property
    def sum_and_self_values(self) -> Tensor:
        """The node itself plus the sum over its in-neighbours (GIN, eps 0), on `looped`; unbiased if sampled."""
        pattern, loops = self.looped
        values = _of_kept(self._inverse_fraction[pattern.rows], self.looped_kept)
        values[loops] = 1.0
        return values

    @cached_property
    def mean_and_self_values(self) -> Tensor:
        """The node itself plus the mean over its in-neighbours, on `looped`."""
        pattern, loops = self.looped
        values = _of_kept(self._count.clamp(min=1).reciprocal()[pattern.rows], self.looped_kept)
        values[loops] = 1.0
        return values

    @property
    def _count(self) -> Tensor:
        """Number of in-neighbours in the block that count, of each destination: float32 `[num_dst]`."""
        if self.kept is None:
            return self.indptr.diff().float()
        return self.kept.new_zeros(self.num_dst).index_add(0, self.pattern.rows, self.kept)

    @property
    def _inverse_fraction(self) -> Tensor:
        """All in-neighbours divided by those in the block, before any was dropped: float32 `[num_dst]`."""
        if self.whole is not None:
            return self.whole._inverse_fraction
        return self.destinations(self.degree).float() / self._count.clamp(min=1)

    @property
    def _places(self) -> Tensor:
        """The position of each edge in `looped`, shifted by one for each self loop before it."""
        # A boolean mask of these positions would make a GPU's host wait.
        return torch.arange(self.indices.numel(), device=self.indices.device) + self.pattern.rows


def _of_kept(values: Tensor, kept: Tensor | None) -> Tensor:
    return values if kept is None else values * kept
