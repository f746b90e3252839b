"""Pairs without an edge to train on: pure functions of seed, step and the edge that each stands against."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.graphs.edge_set import EdgeSet

_DOMAIN = 0x4E4547415449  # separates the hashes from those of seeds, neighbours and splits
_REDRAWS = 4


class NegativeSampler:
    """Draws one pair of random nodes for each pair with an edge.

    Pairs that are one node, or have an edge, are drawn again, a few times. It knows the message edges of training
    only: a held-out edge can be drawn, as any other pair.
    """

    def __init__(self, edges: EdgeSet, seed: int) -> None:
        self._edges, self._seed = edges, seed

    def sample(self, step: int, pairs: Tensor) -> Tensor:
        """A pair for each of `pairs`, int64 `[2, num_pairs]`, on the device of the edges. Does not wait for it."""
        keys = pairs[0] * self._edges.num_nodes + pairs[1]
        drawn = self._drawn(step, 0, keys)
        for attempt in range(1, _REDRAWS + 1):
            drawn = torch.where(self._edges.joins(drawn[0], drawn[1]), self._drawn(step, attempt, keys), drawn)
        return drawn

    def _drawn(self, step: int, attempt: int, keys: Tensor) -> Tensor:
        limit = torch.tensor(self._edges.num_nodes)
        ends = (hashing.key(_DOMAIN, self._seed, step, attempt, end) for end in (0, 1))
        return torch.stack([hashing.below(hashing.stream(end, keys), limit) for end in ends])
