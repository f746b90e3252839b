"""Multicoated supermasks: several nested thresholds on one score (Okoshi et al., ICML 2022; Yan et al., LoG 2023).

The level of a weight is the number of thresholds that its score reaches, and multiplies it. Coat i of N is the binary
supermask at sparsity s + (1 - s) i / N, i = 0 ... N - 1, of which the first tells which weights are kept at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ugts_dist.supermask.coding import Mask
from ugts_dist.supermask.form import Form

Levels = npt.NDArray[np.int8]


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


def bit_masks(levels: Mask | Levels, form: Form) -> list[Mask]:
    """The boolean masks, flat, that tell these levels: of each coat, among the weights of the coat before it."""
    left = levels.reshape(-1)
    masks = []
    for coat in range(1, form.coats + 1):
        reached = left >= coat
        masks.append(reached)
        left = left[reached]
    return masks


def levels_of(masks: Sequence[Mask]) -> Mask | Levels:
    """The levels, flat, that `bit_masks` tells by these masks; a single mask is returned as it is."""
    first, *others = masks
    if not others:
        return first
    levels = first.astype(np.int8)
    places = np.flatnonzero(first)
    for mask in others:
        places = places[mask]
        levels[places] += 1
    return levels
