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
from ugts_dist.models.sparse import Features, Rows, SparseFeatures

_DOMAIN = 0x44524F50  # separates these hashes from those of seeds and neighbours
_OWN = 1 << 32  # separates the nodes' own features from those of their neighbours
_PER_WORD = 4  # draws of 16 bits per hash of 64


@dataclass(frozen=True)
class Dropout:
    """The dropout of one training step.

    Attributes:
        p: probability that a feature is dropped, exact to 2^-17. The others are divided by 1 - p.
        seed: of the run.
        step: number of the step.
        nodes: id of each source node of the first layer, `[num_nodes]`; those of later layers come first.
        at: "every": each layer's input; "input": only the network's input (layer 0).
    """

    p: float
    seed: int
    step: int
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
        key = hashing.key(_DOMAIN, self.seed, self.step, layer)
        scale = 1.0 / (1.0 - self.p)
        if isinstance(x, SparseFeatures):
            cells = self.nodes[x.pattern.rows] * x.pattern.num_cols + x.pattern.indices
            kept = self._kept(hashing.stream(key, cells)[:, None])[:, 0]
            return SparseFeatures(x.pattern, x.values * (kept * scale))
        if isinstance(x, Rows):
            x = x.gather()
        num_rows, width = x.shape
        words = -(-width // _PER_WORD)
        counter = self.nodes[:num_rows, None] * words + torch.arange(words, device=x.device)
        return x * (self._kept(hashing.stream(key, counter))[:, :width] * scale)

    def _kept(self, bits: Tensor) -> Tensor:
        """Four independent decisions per 64 bits: `[rows, words]` -> bool `[rows, 4 * words]`."""
        return bits.view(torch.int16) >= min(round(self.p * 2**16), 2**16 - 1) - 2**15
