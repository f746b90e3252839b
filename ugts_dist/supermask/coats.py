"""Multicoated supermasks: several nested thresholds on one score (Okoshi et al., ICML 2022; Yan et al., LoG 2023).

The level of a weight is the number of thresholds that its score reaches; the weight is multiplied by it. Coat i of N is
the binary supermask at sparsity s + (1 - s) i / N, i = 0 ... N - 1. The first coat decides which weights are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def coat_sparsities(sparsity: float, coats: int) -> list[float]:
    """The sparsity of each coat: evenly spaced from `sparsity` towards 1."""
    return [sparsity, *(sparsity + (1.0 - sparsity) * coat / coats for coat in range(1, coats))]


def thresholds_of(threshold: Tensor) -> Sequence[Tensor]:
    """The threshold of each coat, as scalars, from a tensor `[coats]`; a scalar is the threshold of the only coat."""
    return threshold.unbind() if threshold.dim() else (threshold,)


def count_reached(ranked: Tensor, threshold: Tensor) -> Tensor:
    """Number of thresholds that each score reaches, `[*shape]`, in the dtype of the scores."""
    first, *others = thresholds_of(threshold)
    # Floats are several times as fast on a CPU as booleans and `torch.where`.
    level = torch.ge(ranked, first, out=torch.empty_like(ranked))
    for other in others:
        level += torch.ge(ranked, other)
    return level
