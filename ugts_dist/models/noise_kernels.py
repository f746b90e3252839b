"""The kernel of dropout, in Triton. Importing this module needs Triton."""

# ruff: noqa: N803 - Triton's constants are in capitals

from __future__ import annotations

import triton
import triton.language as tl

from ugts_dist.hashing_kernels import GOLDEN, mix, stream


@triton.jit(do_not_specialize=["start", "layer", "num_rows", "width", "least"])
def draw_factors(
    ids: tl.tensor,
    step: tl.tensor,
    factors: tl.tensor,
    start: tl.tensor,
    layer: tl.tensor,
    num_rows: tl.tensor,
    width: tl.tensor,
    least: tl.tensor,
    scale: tl.tensor,
    PER_WORD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """`dropout_factors`: each program draws the hashes of `BLOCK` words, of `PER_WORD` factors each.

    `start` is the key of the domain and the seed; `least` and `scale` are those of `noise`.
    """
    words = (width + PER_WORD - 1) // PER_WORD
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = place // words
    word = place - row * words
    inside = row < num_rows
    node = tl.load(ids + row, mask=inside, other=0)
    key = mix(mix(start.to(tl.uint64) + tl.load(step).to(tl.uint64) + GOLDEN) + layer.to(tl.uint64) + GOLDEN)
    bits = stream(key, (node * words + word).to(tl.uint64))
    for number in tl.static_range(PER_WORD):
        column = word * PER_WORD + number
        drawn = ((bits >> (16 * number)) & 0xFFFF).to(tl.int32)
        drawn = tl.where(drawn >= 32768, drawn - 65536, drawn)
        factor = tl.where(drawn >= least, scale, 0.0)
        tl.store(factors + row * width + column, factor, mask=inside & (column < width))
