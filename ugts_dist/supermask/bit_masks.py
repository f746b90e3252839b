"""A mask with several values as a list of boolean masks, which is how a ticket file stores it.

With frozen weights, all of this covers the other weights only, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ugts_dist.supermask.coding import Mask
from ugts_dist.supermask.form import Form

Levels = npt.NDArray[np.int8]


def bit_masks(levels: Mask | Levels, form: Form) -> list[Mask]:
    """Boolean masks, flat, that encode the values of a mask.

    One mask per coat: which of the weights kept by the coat before reach this coat. Signed masks have one more: which
    of the weights kept by the first coat are negative.
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
    """Inverse of `bit_masks`: the values of the mask, flat. A binary mask is returned unchanged."""
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
    """Size of each boolean mask of a weight with `size` values; `counts` is the number of True in each."""
    sizes = [size, *counts[: form.coats - 1]]
    return [*sizes, counts[0]] if form.signed else sizes
