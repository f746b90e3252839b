"""Probes for the sampler back ends: each draws neighbours in a tiny graph.

Each function runs in a process of its own (see `isolated`). PyG is imported for our own sampler only: it imports the
other packages, and one of those may crash.
"""

from __future__ import annotations

import torch

from ugts_dist.graphs.kernels import BACKENDS

_INDPTR, _INDICES, _SEEDS = torch.tensor([0, 2, 2, 2]), torch.tensor([1, 2]), torch.tensor([0])
_DRAWS = 64


def ours() -> str:
    """Draw 1 of 2 neighbours many times; what was found, in words."""
    from ugts_dist.graphs.sampling import NeighborSampler

    sampler = NeighborSampler(_INDPTR, _INDICES, [1], seed=0)
    return _judged({int(sampler.sample(step, _SEEDS).nodes[1]) for step in range(_DRAWS)})


def package(name: str) -> str:
    """The same with another package's kernel. Raises RuntimeError, with the reason, where it cannot be used."""
    problem = BACKENDS[name].problem()
    if problem:
        raise RuntimeError(problem)
    torch.manual_seed(0)
    return _judged({int(BACKENDS[name].kernel(_INDPTR, _INDICES, _SEEDS, [1])[0][1]) for _ in range(_DRAWS)})


def _judged(drawn: set[int]) -> str:
    if not drawn <= {1, 2}:
        raise RuntimeError(f"draws nodes {sorted(drawn)} where 1 and 2 are the neighbours")
    return "works" if len(drawn) == 2 else "works, but does not draw uniformly: the last neighbour is left out"
