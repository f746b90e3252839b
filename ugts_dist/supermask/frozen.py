"""Partially frozen masks: some weights are always masked, others always kept (Otsuka et al. 2024, arXiv:2402.14029).

Both sets are drawn before training from the seed of the weights. They need no trained scores and take no bytes in a
ticket file.
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
    """Number of pruned and of locked weights of a weight tensor with `size` weights."""
    pruned = round(form.pruned * size)
    return pruned, min(round(form.locked * size), size - pruned)


def num_free(size: int, form: Form) -> int:
    """Number of weights that scores decide."""
    return size - sum(frozen_counts(size, form))


def frozen_places(seed: int, name: str, size: int, form: Form) -> tuple[Places, Places]:
    """The flat positions of the pruned weights and of the locked weights.

    Each weight has 64 random bits with the role `frozen`. The lowest are pruned, the highest locked; ties go by
    position, the first counting as lower.
    """
    pruned, locked = frozen_counts(size, form)
    bits = random_bits(seed, "frozen", name).random_raw(size)
    return _lowest(bits, pruned), ~_lowest(bits, size - locked)


def frozen_ranks(seed: int, name: str, shape: torch.Size, form: Form) -> Tensor | None:
    """What is added to the ranked scores, `[*shape]`: -inf for pruned weights, inf for locked ones, otherwise 0.

    None if no weight is frozen.
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
