"""The histogram kernel in Triton's interpreter, on a CPU. `test_device_histograms` runs this file by itself."""

from __future__ import annotations

import os

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.supermask.device_histograms import chunks_of, histograms

assert os.environ["TRITON_INTERPRET"] == "1"

ROUNDS = ((21, 11), (10, 11), (0, 10))


@settings(derandomize=True, max_examples=10)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(0, 10**6), st.booleans())
def test_counts_are_those_of_bincount(sizes: list[int], seed: int, is_large: bool) -> None:
    """With keys that share digits, and a group of several chunks."""
    rng = np.random.default_rng(seed)
    sizes = [*sizes, 70_001] if is_large else [*sizes, 1]
    values = rng.integers(-(2**31), 2**31, 5)
    keys = (values[rng.integers(0, 5, sum(sizes))] ^ rng.integers(0, 3, sum(sizes))).astype(np.int32)
    ends = np.cumsum(sizes)
    chunks = torch.tensor(chunks_of(sizes))
    for shift, bits in ROUNDS:
        is_first = shift + bits == 32
        above = keys.astype(np.int64) >> (shift + bits)
        prefix = rng.choice(above, len(sizes)).astype(np.int32)
        counts = histograms(torch.from_numpy(keys), chunks, torch.from_numpy(prefix), shift, bits)
        for group, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            own = slice(end - size, end)
            near = keys[own].astype(np.int64)[is_first | (above[own] == prefix[group])]
            digits = (near >> shift) + 2 ** (bits - 1) if is_first else (near >> shift) % 2**bits
            assert counts[group].tolist() == np.bincount(digits, minlength=2**bits).tolist()


def test_chunks_are_the_groups() -> None:
    sizes = [3, 0, 30_000, 8192, 1]
    places = [(group, place) for group, first, end in chunks_of(sizes) for place in range(first, end)]
    groups = np.repeat(np.arange(5), sizes)
    assert places == list(zip(groups.tolist(), range(sum(sizes)), strict=True))
