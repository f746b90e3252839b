from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import lgamma, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ugts_dist.supermask.coding import Mask, decode, encode, entropy_bytes

DENSITIES = [0.001, 0.01, 0.03, 0.06, 0.1, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 0.99, 0.999]


def random_mask(size: int, density: float, seed: int = 0) -> Mask:
    """From numpy's raw Philox stream, which never changes."""
    raw = np.random.Philox(key=seed).random_raw(size)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53 < density


def described(masks: Sequence[Mask]) -> tuple[list[int], list[int]]:
    return [mask.size for mask in masks], [int(mask.sum()) for mask in masks]


def check(masks: Sequence[Mask]) -> bytes:
    """Check that the masks can be decoded again. Returns their code."""
    data = encode(masks)
    decoded = decode(data, *described(masks))
    assert [mask.tolist() for mask in decoded] == [mask.reshape(-1).tolist() for mask in masks]
    assert all(mask.dtype == np.bool_ for mask in decoded)
    return data


def decoded_as_documented(data: bytes, sizes: Sequence[int], counts: Sequence[int]) -> list[list[bool]]:
    """A second decoder, one symbol after another, written from the format's description alone."""
    layers = []
    position = 0
    for size, count in zip(sizes, counts, strict=True):
        m = min(count, size - count)
        if m == 0:
            continue
        s = max(0, (size // m).bit_length() - 3)
        q = ((size - m) << 32) // size
        for _ in range(s):
            q = (q * q) >> 32
        c = min(max(q >> 24, 128), 226)
        escapes = shift = 0
        while True:
            byte = data[position]
            position += 1
            escapes |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        number = 8 + 4 * (512 // (511 - 2 * c))
        p, first = 2**32, []
        for i in range(number):
            first.append(i + (((2**32 - p) * (2**14 - number)) >> 32))
            p = (p * (2 * c + 1)) >> 9
        layers.append((m, s, escapes, number, [*first, 2**14]))
    lanes = 1 + sum(m * (s + 2) for m, s, *_ in layers) // 8192 if layers else 0
    states = [int.from_bytes(data[position + 4 * i : position + 4 * i + 4], "little") for i in range(lanes)]
    position += 4 * lanes
    symbols: list[int] = []
    waiting: list[int] = []
    owners = [layer for layer, (m, _, escapes, *_) in enumerate(layers) for _ in range(m + escapes)]
    for i, owner in enumerate(owners):
        slots, lane = layers[owner][4], i % lanes
        x = states[lane]
        slot = x % 2**14
        symbol = max(k for k in range(len(slots) - 1) if slots[k] <= slot)
        symbols.append(symbol)
        states[lane] = (slots[symbol + 1] - slots[symbol]) * (x >> 14) + slot - slots[symbol]
        waiting.append(lane)
        if lane == lanes - 1 or i == len(owners) - 1:
            for low in waiting:
                if states[low] < 2**16:
                    states[low] = (states[low] << 16) + int.from_bytes(data[position : position + 2], "little")
                    position += 2
            waiting = []
    assert states == [2**16] * lanes
    low_bits = "".join(f"{byte:08b}" for byte in data[position:])
    masks, at, used = [], 0, 0
    todo = iter(layers)
    for size, count in zip(sizes, counts, strict=True):
        rare = 2 * count <= size
        values = [not rare] * size
        if 0 < count < size:
            m, s, _, number, _ = next(todo)
            place = -1
            for _ in range(m):
                high = 0
                while symbols[at] == number - 1:
                    high += number - 1
                    at += 1
                high += symbols[at]
                at += 1
                place += 1 + (high << s) + int("0" + low_bits[used : used + s], 2)
                used += s
                values[place] = rare
        masks.append(values)
    assert len(low_bits) - 8 < used <= len(low_bits)
    assert "1" not in low_bits[used:]
    return masks


# Round trips


@given(st.lists(st.lists(st.booleans(), max_size=60), max_size=5))
def test_any_masks_come_back(values: list[list[bool]]) -> None:
    masks = [np.array(value, np.bool_) for value in values]
    data = check(masks)
    assert decoded_as_documented(data, *described(masks)) == values


@st.composite
def runs(draw: st.DrawFn) -> Mask:
    """A mask of long runs and isolated values, unlike a random mask."""
    lengths = draw(st.lists(st.one_of(st.integers(1, 3), st.integers(1, 5000)), min_size=1, max_size=12))
    return np.concatenate([np.full(length, number % 2 == 0) for number, length in enumerate(lengths)])


@given(st.lists(runs(), min_size=1, max_size=3))
def test_masks_with_long_gaps_come_back(masks: list[Mask]) -> None:
    data = check(masks)
    assert decoded_as_documented(data, *described(masks)) == [mask.tolist() for mask in masks]


@given(st.lists(st.tuples(st.integers(0, 40_000), st.floats(0, 1)), max_size=4), st.integers(0, 99))
def test_random_masks_come_back(parts: list[tuple[int, float]], seed: int) -> None:
    check([random_mask(size, density, seed) for size, density in parts])


@pytest.mark.parametrize("density", DENSITIES)
def test_masks_that_take_many_lanes_are_decoded_as_documented(density: float) -> None:
    masks = [random_mask(size, density, seed) for seed, size in enumerate([30_000, 1, 0, 777, 20_000])]
    assert decoded_as_documented(check(masks), *described(masks)) == [mask.tolist() for mask in masks]


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_masks_that_their_counts_tell_take_nothing(size: int) -> None:
    assert check([np.zeros(size, np.bool_), np.ones(size, np.bool_)]) == b""
    assert check([]) == b""


@pytest.mark.parametrize("position", [0, 1, 499_999, 999_999])
@pytest.mark.parametrize("value", [True, False])
def test_one_value_among_a_million(position: int, value: bool) -> None:
    mask = np.full(1_000_000, not value)
    mask[position] = value
    assert len(check([mask])) <= 12


def test_the_shape_of_a_mask_does_not_matter() -> None:
    mask = random_mask(600, 0.1)
    assert encode([mask.reshape(20, 30)]) == encode([mask]) == encode([np.asfortranarray(mask.reshape(20, 30))])


# The format


def test_the_format_does_not_change() -> None:
    sparse, dense = np.zeros(64, np.bool_), np.array([True, True, False, True])
    sparse[[3, 20, 21, 40]] = True
    assert encode([sparse, dense]).hex() == "00005ac9c151c2"
    masks = [random_mask(10_000, density, seed) for seed, density in enumerate(DENSITIES)]
    assert (
        hashlib.sha256(encode(masks)).hexdigest() == "00d714613ded2c90003c0f4d286aac7bf59d0fd336e4c58f137df2e9d385d97e"
    )


# Size


def test_entropy() -> None:
    assert entropy_bytes([8, 100, 5], [4, 0, 5]) == 1.0
    # Of all ways to choose k of N, by Stirling's formula.
    ways = (lgamma(10**6 + 1) - lgamma(10**4 + 1) - lgamma(10**6 - 10**4 + 1)) / log(2) / 8
    assert entropy_bytes([10**6], [10**4]) == pytest.approx(ways, rel=1e-3)


@pytest.mark.parametrize("sizes", [[500_000], [1433 * 256, 256 * 7], [1433 * 16, *[16 * 16] * 30, 16 * 7]])
@pytest.mark.parametrize("density", DENSITIES)
def test_random_masks_take_little_more_than_their_entropy(sizes: list[int], density: float) -> None:
    masks = [random_mask(size, density, seed) for seed, size in enumerate(sizes)]
    counted = described(masks)
    size = len(encode(masks))
    assert size < 1.01 * entropy_bytes(*counted) + 4 + len(sizes)


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_a_small_ticket_is_within_two_percent_of_its_entropy(sparsity: float) -> None:
    masks = [random_mask(1433 * 256, 1 - sparsity, 1), random_mask(256 * 7, 1 - sparsity, 2)]
    assert len(check(masks)) < 1.02 * entropy_bytes(*described(masks))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.4])
def test_masks_with_empty_rows_take_no_more_than_random_ones(density: float) -> None:
    """Gaps far beyond those of a random mask: the cost of the escape is proportional to its length."""
    mask = random_mask(400_000, 2 * density).reshape(400, 1000)
    mask[np.arange(400) % 2 == 0] = False
    assert len(check([mask])) < 1.02 * entropy_bytes(*described([mask]))


# Hostile data


SIZES = [5000, 100, 3000, 0]
MASKS = [random_mask(size, density, 5) for size, density in zip(SIZES, [0.02, 0.5, 0.9, 0.5], strict=True)]


def read(data: bytes, sizes: Sequence[int], counts: Sequence[int]) -> list[Mask] | None:
    """The decoded masks, with the requested sizes; None for data that is refused."""
    try:
        masks = decode(data, sizes, counts)
    except ValueError:
        return None
    assert described(masks) == (list(sizes), list(counts))
    return masks


def test_every_truncation_and_anything_appended_is_refused() -> None:
    data = check(MASKS)
    assert all(read(data[:length], *described(MASKS)) is None for length in range(len(data)))
    assert read(data + b"\0", *described(MASKS)) is None
    assert read(data + b"\0\0", *described(MASKS)) is None


def test_a_flipped_bit_gives_a_refusal_or_another_mask() -> None:
    data = encode(MASKS)
    for position in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        decoded = read(bytes(damaged), *described(MASKS))
        assert decoded is None or any((a != b).any() for a, b in zip(decoded, MASKS, strict=True))


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=4))
def test_any_bytes_are_refused_or_are_masks(data: bytes, parts: list[tuple[int, int]]) -> None:
    read(data, [max(pair) for pair in parts], [min(pair) for pair in parts])


@given(st.data())
def test_damaged_masks_are_refused_or_are_masks(data: st.DataObject) -> None:
    content = bytearray(encode(MASKS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    read(bytes(content), *described(MASKS))


@pytest.mark.parametrize("data", [b"", b"\0" * 20, b"\xff" * 20, b"\x7f" * 400, b"\0\0\0\1\0" * 30])
@pytest.mark.parametrize("count", [1, 10**6, 2**38, 2**39])
def test_data_that_is_too_little_for_its_counts_is_refused_before_anything_is_allocated(
    data: bytes, count: int
) -> None:
    assert read(data, [2**40], [count]) is None


@pytest.mark.parametrize(("size", "count"), [(3, 4), (-1, 0), (-1, -1), (5, -1), (2**40 + 1, 1)])
def test_counts_that_no_mask_has_are_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} weights kept of {size}"):
        decode(b"\0" * 10, [size], [count])


def test_data_where_none_is_needed_is_refused() -> None:
    assert read(b"\0", [5], [5]) is None
    assert read(b"\0", [], []) is None
