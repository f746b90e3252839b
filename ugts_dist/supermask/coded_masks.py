"""Conversion between the masks of a network and the boolean masks that a ticket file stores.

Each weight has the masks of `ugts_dist.supermask.bit_masks`, one after the other, without its frozen weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ugts_dist.supermask import coding
from ugts_dist.supermask.bit_masks import Levels, bit_masks, coded_sizes, levels_of
from ugts_dist.supermask.coding import Mask
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.frozen import frozen_places, num_free
from ugts_dist.supermask.ticket_header import HeaderWeight


def masks_to_code(values: Mapping[str, Tensor], form: Form, seed: int) -> dict[str, list[Mask]]:
    """The boolean masks of each weight, flat, from the values of its mask."""
    flat = {name: value.numpy().reshape(-1) for name, value in values.items()}
    if form.is_frozen:
        flat = {name: _free(value, seed, name, form) for name, value in flat.items()}
    return {name: bit_masks(value, form) for name, value in flat.items()}


def decoded_masks(data: bytes, weights: Mapping[str, HeaderWeight], form: Form, seed: int) -> dict[str, Tensor]:
    """The values of each weight's mask: boolean if the form is binary, otherwise int8.

    Raises ValueError for data that does not encode such masks.
    """
    sizes = [size for weight in weights.values() for size in _sizes(weight, form)]
    counts = [count for weight in weights.values() for count in weight.counts]
    masks = iter(coding.decode(data, sizes, counts))
    values = {name: levels_of([next(masks) for _ in weight.counts], form) for name, weight in weights.items()}
    if form.is_frozen:
        values = {name: _with_frozen(values[name], seed, name, weight.size, form) for name, weight in weights.items()}
    return {name: torch.from_numpy(values[name]).reshape(weight.shape) for name, weight in weights.items()}


def num_values(weights: Mapping[str, HeaderWeight], form: Form) -> int:
    """Number of values that decoding these masks holds in memory."""
    return sum(max(weight.size, sum(_sizes(weight, form))) for weight in weights.values())


def _sizes(weight: HeaderWeight, form: Form) -> list[int]:
    return coded_sizes(num_free(weight.size, form), weight.counts, form)


def _free(values: Mask | Levels, seed: int, name: str, form: Form) -> Mask | Levels:
    pruned, locked = frozen_places(seed, name, values.size, form)
    return values[~(pruned | locked)]


def _with_frozen(free: Mask | Levels, seed: int, name: str, size: int, form: Form) -> Mask | Levels:
    """Insert the frozen weights: pruned ones are 0, locked ones pass every coat."""
    pruned, locked = frozen_places(seed, name, size, form)
    values: npt.NDArray[Any] = np.zeros(size, free.dtype)
    values[locked] = form.coats
    values[~(pruned | locked)] = free
    return values
