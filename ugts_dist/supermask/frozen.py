"""Partially frozen masks: a part of the weights is masked for good, another is kept for good (Otsuka et al. 2024).

Both parts are drawn at random, before training, from the weights' own seed (arXiv:2402.14029). So neither needs a score
that is trained, and a ticket's file tells of neither.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ugts_dist.supermask.form import Form
from ugts_dist.supermask.weights import random_bits

Places = npt.NDArray[np.bool_]


def frozen_counts(size: int, form: Form) -> tuple[int, int]:
    """How many of a weight tensor's weights are pruned, and how many locked."""
    pruned = round(form.pruned * size)
    return pruned, min(round(form.locked * size), size - pruned)


def num_free(size: int, form: Form) -> int:
    """How many are left to the scores."""
    return size - sum(frozen_counts(size, form))


def frozen_places(seed: int, name: str, size: int, form: Form) -> tuple[Places, Places]:
    """Which weights are pruned and which are locked, both flat.

    Each weight has 64 random bits, of the role `frozen`. Those with the lowest are pruned, those with the highest
    locked; of equal ones the first counts as lower.
    """
    pruned, locked = frozen_counts(size, form)
    bits = random_bits(seed, "frozen", name).random_raw(size)
    return _lowest(bits, pruned), ~_lowest(bits, size - locked)


def frozen_ranks(seed: int, name: str, shape: torch.Size, form: Form) -> Tensor | None:
    """What a score's rank has to be raised by: -inf where a weight is pruned, inf where it is locked, else 0.

    None where nothing is frozen.
    """
    if not form.is_frozen:
        return None
    pruned, locked = (torch.from_numpy(one).view(shape) for one in frozen_places(seed, name, shape.numel(), form))
    return torch.zeros(shape).masked_fill_(pruned, -math.inf).masked_fill_(locked, math.inf)


def _lowest(bits: npt.NDArray[np.uint64], count: int) -> Places:
    if not count:
        return np.zeros(bits.size, np.bool_)
    limit = np.partition(bits, count - 1)[count - 1]
    chosen = bits < limit
    equal = np.flatnonzero(bits == limit)
    chosen[equal[: count - np.count_nonzero(chosen)]] = True
    return chosen
