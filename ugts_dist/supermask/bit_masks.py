"""The values of a mask as boolean masks, which is how a ticket's file holds them.

Where weights are frozen, all of this is of the others, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ugts_dist.supermask.coding import Mask
from ugts_dist.supermask.form import Form

Levels = npt.NDArray[np.int8]


def bit_masks(levels: Mask | Levels, form: Form) -> list[Mask]:
    """The boolean masks, flat, that tell these values.

    First of each coat, among the weights that the coat before it keeps. Then, of signed masks, which of the weights
    that the first coat keeps are negative.
    """
    left = levels.reshape(-1)
    negative = left[left != 0] < 0
    if form.signed:
        left = np.abs(left)
    masks = []
    for coat in range(1, form.coats + 1):
        reached = left >= coat
        masks.append(reached)
        left = left[reached]
    return [*masks, negative] if form.signed else masks


def levels_of(masks: Sequence[Mask], form: Form) -> Mask | Levels:
    """The values, flat, that `bit_masks` tells by these masks; a binary mask is returned as it is."""
    first, *others = masks
    if not others:
        return first
    levels = first.astype(np.int8)
    kept = places = np.flatnonzero(first)
    for mask in others[: form.coats - 1]:
        places = places[mask]
        levels[places] += 1
    if form.signed:
        levels[kept[masks[-1]]] *= -1
    return levels


def coded_sizes(size: int, counts: Sequence[int], form: Form) -> list[int]:
    """How many values each of the boolean masks has, of a weight of this size; `counts`: how many of them are True."""
    sizes = [size, *counts[: form.coats - 1]]
    return [*sizes, counts[0]] if form.signed else sizes
