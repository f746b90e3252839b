"""The histograms of the radix selection as a kernel, in Triton. Importing this module needs Triton."""

# ruff: noqa: N803 - Triton's constants are in capitals

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def count_digits(
    keys: tl.tensor,
    chunks: tl.tensor,
    prefix: tl.tensor,
    counts: tl.tensor,
    SHIFT: tl.constexpr,
    BITS: tl.constexpr,
    BINS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add the digits of one chunk of keys, STEPS * BLOCK at most, to the counts of its group, `[num_groups, BINS]`.

    A chunk is (group, first key, end). Its digits are counted in the program, so that few programs add to the same bin.
    """
    chunk = chunks + tl.program_id(0) * 3
    group, first, end = tl.load(chunk), tl.load(chunk + 1), tl.load(chunk + 2)
    found = tl.zeros([BINS], tl.int32)
    for step in range(STEPS):
        place = first + step * BLOCK + tl.arange(0, BLOCK)
        inside = place < end
        key = tl.load(keys + place, mask=inside, other=0)
        if SHIFT + BITS == 32:
            digit = (key >> SHIFT) + BINS // 2  # includes the sign
        else:
            digit = (key >> SHIFT) & (BINS - 1)
            inside = inside & ((key >> (SHIFT + BITS)) == tl.load(prefix + group))
        found += tl.histogram(digit, BINS, mask=inside)
    place = tl.arange(0, BINS)
    tl.atomic_add(counts + group * BINS + place, found.to(tl.int64), mask=found > 0)
