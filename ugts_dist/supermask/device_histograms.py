"""All histograms of one round of the radix selection as one launch, on a GPU with Triton."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ugts_dist.gpu_kernels import launch

_BLOCK = 2048  # keys that a program reads at once
_STEPS = 4  # blocks of a chunk


def chunks_of(sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(group, first key, end) of the chunks into which groups of these sizes, one after the other, are cut."""
    chunk, ends = _BLOCK * _STEPS, itertools.accumulate(sizes)
    return [
        (group, first, min(first + chunk, end))
        for group, (size, end) in enumerate(zip(sizes, ends, strict=True))
        for first in range(end - size, end, chunk)
    ]


def histograms(keys: Tensor, chunks: Tensor, prefix: Tensor, shift: int, bits: int) -> Tensor:
    """Counts of the next digit of the keys that begin with their group's prefix: int64 `[num_groups, 2 ** bits]`.

    Args:
        keys: int32 `[num_keys]`, group after group.
        chunks: `chunks_of` the groups' sizes, int64 `[num_chunks, 3]`.
        prefix: int32 `[num_groups]`.
        shift: position of the digit.
        bits: its width.
    """
    from ugts_dist.supermask.threshold_kernels import count_digits

    bins = 1 << bits
    counts = torch.zeros(prefix.numel(), bins, dtype=torch.int64, device=keys.device)
    arrays, digit = (keys, chunks, prefix, counts), {"SHIFT": shift, "BITS": bits, "BINS": bins}
    launch(count_digits, len(chunks) * _BLOCK, *arrays, **digit, STEPS=_STEPS, block=_BLOCK)
    return counts
