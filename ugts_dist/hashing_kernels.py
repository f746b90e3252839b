"""The random bits of `hashing` within Triton kernels: the same bits. Importing this module needs Triton."""

# ruff: noqa: N803 - Triton's constants are in capitals

from __future__ import annotations

import triton
import triton.language as tl

GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_FIRST = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND = tl.constexpr(0x94D049BB133111EB)
_FRACTION = tl.constexpr(2.0**-53)


@triton.jit
def mix(bits: tl.tensor) -> tl.tensor:
    """`hashing.mix` of uint64, which Triton shifts without copies of the sign."""
    bits = (bits ^ (bits >> 30)) * _FIRST
    bits = (bits ^ (bits >> 27)) * _SECOND
    return bits ^ (bits >> 31)


@triton.jit
def stream(start: tl.tensor, counter: tl.tensor) -> tl.tensor:
    """`hashing.stream` of uint64 numbers."""
    return mix(start + counter * GOLDEN)


@triton.jit
def below(bits: tl.tensor, limit: tl.tensor) -> tl.tensor:
    """`hashing.below`: int64 in [0, limit) from uint64 bits and an int64 limit. No sum, so that nothing is fused."""
    return ((bits >> 11).to(tl.float64) * _FRACTION * limit.to(tl.float64)).to(tl.int64)


@triton.jit(do_not_specialize=["start", "limit", "size"])
def numbers_below(
    counters: tl.tensor, numbers: tl.tensor, start: tl.tensor, limit: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """The integers in [0, limit) that elements `counters` of the sequence `start` give: int64 `[size]` both."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    counter = tl.load(counters + place, mask=place < size, other=0).to(tl.uint64)
    bits = stream(start.to(tl.uint64), counter)
    tl.store(numbers + place, below(bits, limit.to(tl.int64)), mask=place < size)
