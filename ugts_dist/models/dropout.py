"""Dropout as a pure function of (seed, step, layer, node, feature).

The noise of a node does not depend on the other nodes of its batch. A run has the same noise on any number of ranks, on
CPU and GPU, and a resumed run needs no generator state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.models.first_layer import Aggregated, Input
from ugts_dist.models.noise import dropout_factors
from ugts_dist.models.sparse import Features, Rows, SparseFeatures

_OWN = 1 << 32  # separates the nodes' own features from those of their neighbours


@dataclass(frozen=True)
class Dropout:
    """The dropout of one training step.

    Attributes:
        p: probability that a feature is dropped, exact to 2^-17. The others are divided by 1 - p.
        seed: of the run.
        step: number of the step; a tensor on the device of the nodes in a step that is recorded.
        nodes: id of each source node of the first layer, `[num_nodes]`; those of later layers come first.
        at: "every": each layer's input; "input": only the network's input (layer 0).
    """

    p: float
    seed: int
    step: int | Tensor
    nodes: Tensor
    at: Literal["every", "input"] = "every"

    @overload
    def __call__(self, x: Features, layer: int) -> Features: ...

    @overload
    def __call__(self, x: Input, layer: int) -> Input: ...

    def __call__(self, x: Input, layer: int) -> Input:
        """Drop features of `x` `[rows, width]`, whose rows are the first of `nodes`."""
        if self.p == 0.0 or (self.at == "input" and layer > 0):
            return x
        if isinstance(x, Aggregated):
            own = None if x.own is None else self._dropped(x.own, _OWN)
            return Aggregated(self._dropped(x.neighbours, layer), own)
        return self._dropped(x, layer)

    def _dropped(self, x: Features, layer: int) -> Features:
        if isinstance(x, SparseFeatures):
            return SparseFeatures(x.pattern, x.values * self._factors(x.cells(self.nodes), layer, 1).squeeze(1))
        if isinstance(x, Rows):
            x = x.gather()
        num_rows, width = x.shape
        return x * self._factors(self.nodes[:num_rows], layer, width)

    def _factors(self, ids: Tensor, layer: int, width: int) -> Tensor:
        step = self.step
        if isinstance(step, int):
            step = torch.full((), step, device=ids.device)
        return dropout_factors(ids, step, hashing.signed(self.seed), layer, width, self.p)
