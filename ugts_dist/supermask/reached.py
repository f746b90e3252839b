"""Which scores of several weights reach a threshold of their weight: a few operations on a GPU, for any number of them.

Each operation of torch on a GPU costs more to start than to run. There all weights are handled as one long vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ugts_dist.operators import operator
from ugts_dist.supermask.threshold import CHUNK


@operator("num_kept(Tensor[] scores, Tensor thresholds, Tensor sizes) -> Tensor")
def num_kept(scores: Sequence[Tensor], thresholds: Tensor, sizes: Tensor) -> Tensor:
    """The number of scores that reach the threshold of their tensor, float64 `[num_tensors]`.

    Args:
        scores: float32 tensors of any shape.
        thresholds: one for each, `[num_tensors]`.
        sizes: the numbers of scores, int64 `[num_tensors]`.
    """
    if thresholds.is_cuda:
        return num_kept_in_one_vector(scores, thresholds, sizes)
    counts = []
    for one, threshold in zip(scores, thresholds, strict=True):
        chunks = one.reshape(-1).split(CHUNK)  # small enough for float32 to count exactly
        kept = [torch.ge(chunk, threshold, out=torch.empty_like(chunk)).sum() for chunk in chunks]
        counts.append(torch.stack(kept).sum(dtype=torch.float64))
    return torch.stack(counts)


def num_kept_in_one_vector(scores: Sequence[Tensor], thresholds: Tensor, sizes: Tensor) -> Tensor:
    """`num_kept` in four operations."""
    flat = _flat(scores)
    reached = torch.ge(flat, _of_each(thresholds, sizes, flat), out=torch.empty_like(flat, dtype=torch.float64))
    return torch.segment_reduce(reached, "sum", lengths=sizes, unsafe=True)  # without a check that waits


@operator("unprotected(Tensor[] scores, Tensor thresholds, Tensor sizes) -> Tensor")
def unprotected(scores: Sequence[Tensor], thresholds: Tensor, sizes: Tensor) -> Tensor:
    """All scores as one vector `[num_scores]`, infinite where they reach the threshold of their tensor."""
    if thresholds.is_cuda:
        return unprotected_in_one_vector(scores, thresholds, sizes)
    left = torch.empty(sum(one.numel() for one in scores))
    parts = left.split([one.numel() for one in scores])
    for part, one, threshold in zip(parts, scores, thresholds, strict=True):
        part.copy_(torch.where(one.reshape(-1) >= threshold, torch.inf, one.reshape(-1)))
    return left


def unprotected_in_one_vector(scores: Sequence[Tensor], thresholds: Tensor, sizes: Tensor) -> Tensor:
    """`unprotected` in four operations."""
    flat = _flat(scores)
    return flat.masked_fill(flat >= _of_each(thresholds, sizes, flat), torch.inf)


def _flat(scores: Sequence[Tensor]) -> Tensor:
    return torch.cat([one.reshape(-1) for one in scores])


def _of_each(thresholds: Tensor, sizes: Tensor, flat: Tensor) -> Tensor:
    """The threshold of each score."""
    return thresholds.repeat_interleave(sizes, output_size=flat.numel())
