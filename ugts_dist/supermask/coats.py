"""Multicoated supermasks: several nested thresholds on one score (Okoshi et al., ICML 2022; Yan et al., LoG 2023).

The level of a weight is the number of thresholds that its score reaches, and multiplies it. Coat i of N is the binary
supermask at sparsity s + (1 - s) i / N, i = 0 ... N - 1, of which the first tells which weights are kept at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def coat_sparsities(sparsity: float, coats: int) -> list[float]:
    """The sparsity of each coat, evenly from the given one towards 1."""
    return [sparsity, *(sparsity + (1.0 - sparsity) * coat / coats for coat in range(1, coats))]


def thresholds_of(threshold: Tensor) -> Sequence[Tensor]:
    """Each coat's threshold, a scalar, of a tensor `[coats]`; or of a scalar, where there is one coat."""
    return threshold.unbind() if threshold.dim() else (threshold,)


def count_reached(ranked: Tensor, threshold: Tensor) -> Tensor:
    """How many of the thresholds each score reaches, in the type of the scores."""
    first, *others = thresholds_of(threshold)
    # Floats: on a CPU several times as fast as booleans and `torch.where`.
    level = torch.ge(ranked, first, out=torch.empty_like(ranked))
    for other in others:
        level += torch.ge(ranked, other)
    return level
