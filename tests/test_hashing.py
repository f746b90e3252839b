from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ugts_dist import hashing

INT64 = st.integers(-(2**63), 2**63 - 1)


def test_stream_is_splitmix64() -> None:
    # The first outputs of the published generator for the seed 0.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    bits = hashing.stream(0, torch.arange(1, 5))
    assert bits.numpy().astype(np.uint64).tolist() == published


@given(st.lists(INT64, min_size=1, max_size=20))
def test_mix_equals_unsigned_arithmetic(values: list[int]) -> None:
    bits = np.array(values, dtype=np.int64).astype(np.uint64)
    expected = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    expected = (expected ^ (expected >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    expected ^= expected >> np.uint64(31)
    assert hashing.mix(torch.tensor(values)).numpy().astype(np.uint64).tolist() == expected.tolist()


@given(INT64, INT64)
def test_key_of_one_part_continues_the_tensor_hash(first: int, second: int) -> None:
    # key() works on Python integers, mix() on tensors: they must be the same function.
    golden = 0x9E3779B97F4A7C15 - (1 << 64)
    once = hashing.mix(torch.tensor(first) + golden)
    assert hashing.key(first) == int(once)
    assert hashing.key(first, second) == int(hashing.mix(once + second + golden))


@given(st.lists(INT64, max_size=3), INT64)
def test_a_key_continues_on_a_device(parts: list[int], last: int) -> None:
    expected = hashing.key(*parts, last)
    start = hashing.key(*parts) if parts else 0
    assert hashing.key_of(start, torch.tensor(last)).item() == expected
    assert hashing.key_of(torch.tensor(start), last).item() == expected


def test_keys_depend_on_every_part_and_on_the_order() -> None:
    keys = [hashing.key(*parts) for parts in [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (-1,)]]
    assert len(set(keys)) == len(keys)


@given(st.lists(INT64, min_size=1, max_size=20), st.integers(1, 2**31))
def test_below_equals_exact_fractions(values: list[int], limit: int) -> None:
    numbers = hashing.below(torch.tensor(values), torch.tensor(limit)).tolist()
    for value, number in zip(values, numbers, strict=True):
        assert number == int(((value % 2**64) >> 11) * 2.0**-53 * limit)
        assert 0 <= number < limit


def test_below_never_reaches_the_limit() -> None:
    limits = torch.tensor([1, 2, 3, 2**31 - 1, 2**31, 2**40 + 1, 2**52 + 1])
    assert hashing.below(torch.full((7,), -1), limits).tolist() == (limits - 1).tolist()
