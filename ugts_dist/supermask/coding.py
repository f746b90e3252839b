"""Entropy coding of supermasks: many boolean masks as one byte string, close to the theoretical minimum size.

A mask of N weights of which k are kept, at random places, has N H(k / N) bits of information (H: binary entropy). The
code stores the gaps between the positions of the rarer value, which are geometrically distributed. The lower bits of a
gap are almost uniform and are stored as they are. The rest goes through rANS (Duda 2013, arXiv:1311.2540) with many
interleaved states (Giesen 2014, arXiv:1402.3392) and a static model computed from N and k. The format uses integers
only, so that every machine and every language writes the same bytes.

**Layer.** For a layer with N and k: the rare value is True if 2 k <= N, otherwise False; it occurs m = min(k, N - k)
times. Layers with m = 0 are skipped everywhere below. Otherwise
    s = max(0, bit_length(N // m) - 3)                   the number of lower bits of its gaps;
    q = ((N - m) << 32) // N, then s times q = (q * q) >> 32;
    c = min(max(q >> 24, 128), 226)                      its model.
**Model.** c stands for a geometric distribution with ratio (2 c + 1) / 512. It has A = 8 + 4 (512 // (511 - 2 c))
symbols, 0 to A - 1. The last, E = A - 1, is the escape. Symbol i owns the slots F(i) to F(i + 1) - 1 of 2^14:
    p(0) = 2^32,  p(i + 1) = (p(i) * (2 c + 1)) >> 9,
    F(i) = i + (((2^32 - p(i)) * (2^14 - A)) >> 32) for i < A,  F(A) = 2^14.
**Symbols.** A gap g is the number of other values between a rare value and the one before it (or the beginning). The
end is not coded. The symbols of g are (g >> s) // E escapes, then (g >> s) % E.
**Bytes.** No bytes if all layers have m = 0. Otherwise, in this order:
  1. the number of escapes of each layer: seven bits per byte, lowest first, the top bit set in all but the last byte;
  2. the states of L = 1 + (sum of m (s + 2)) // 8192 lanes, each 32 bits, little-endian;
  3. words of 16 bits, little-endian;
  4. the lower s bits of all gaps in order, highest bit first. The first bit is the top bit of its byte; the last byte
     is padded with zeros.
**Decoding.** Symbol number i of all symbols of all layers belongs to lane i mod L. In the order of i: with the lane's
state x, slot = x mod 2^14 gives the symbol, and x becomes (F(symbol + 1) - F(symbol)) * (x >> 14) + slot - F(symbol).
All lanes of one round (i = L t to L t + L - 1) advance. Then, in the order of the lanes, each lane with x < 2^16 takes
the next word w: x = (x << 16) + w. At the end each state is 2^16 and no word is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
_BITS = 14
_SLOTS = 1 << _BITS
_LEAST_STATE = 1 << 16
_MODELS = (128, 226)
_MAX_SIZE = 1 << 40  # of one mask; sums of gaps can't overflow


def encode(masks: Sequence[Mask]) -> bytes:
    """Encode boolean masks of any shapes, in this order, as one byte string."""
    layers = [_layer(mask.size, int(np.count_nonzero(mask))) for mask in masks]
    coded = [layer for layer in layers if layer.rare]
    if not coded:
        return b""
    frequencies, starts, lows, escapes = [], [], [], b""
    for mask, layer in zip(masks, layers, strict=True):
        if layer.rare:
            gaps = np.diff(np.flatnonzero(mask.reshape(-1) != layer.flipped), prepend=-1) - 1
            bounds = _bounds(layer.model)
            symbols = _symbols(gaps >> layer.shift, _escape(layer.model))
            frequencies.append(np.diff(bounds)[symbols])
            starts.append(bounds[symbols])
            lows.append(_to_bits(gaps, layer.shift))
            escapes += _varint(symbols.size - layer.rare)
    states, words = _compress(np.concatenate(frequencies), np.concatenate(starts), _lanes(coded))
    return b"".join([escapes, states, words, np.packbits(np.concatenate(lows)).tobytes()])


def decode(data: bytes, sizes: Sequence[int], counts: Sequence[int]) -> list[Mask]:
    """Decode masks of the given sizes and numbers of True; they are flat.

    The sizes bound the work and the memory. The caller has to limit them.

    Raises: ValueError for data that `encode` did not write for such masks.
    """
    layers = [_layer(size, count) for size, count in zip(sizes, counts, strict=True)]
    coded = [layer for layer in layers if layer.rare]
    if not coded and data:
        raise ValueError(f"{len(data)} bytes of masks, allowed are none")
    positions = iter(_decode(data, coded)) if coded else iter(())
    return [_mask(layer, next(positions) if layer.rare else np.empty(0, np.int64)) for layer in layers]


def entropy_bytes(sizes: Sequence[int], counts: Sequence[int]) -> float:
    """Minimum size in bytes of random masks of these sizes and numbers of True: the sum of N H(k / N) / 8."""
    bits = 0.0
    for size, count in zip(sizes, counts, strict=True):
        for part in (count, size - count):
            if part:
                bits += part * math.log2(size / part)
    return bits / 8


class _Layer(NamedTuple):
    """How a mask is coded, computed from its size and its number of True; see the module's format."""

    size: int
    rare: int
    flipped: bool
    shift: int
    model: int


def _layer(size: int, count: int) -> _Layer:
    if not 0 <= count <= size <= _MAX_SIZE:
        raise ValueError(f"{count} weights kept of {size}, allowed are at most all of at most {_MAX_SIZE}")
    rare, flipped = min(count, size - count), 2 * count > size
    if not rare:
        return _Layer(size, rare, flipped, 0, _MODELS[0])
    shift = max((size // rare).bit_length() - 3, 0)
    ratio = ((size - rare) << 32) // size
    for _ in range(shift):
        ratio = ratio * ratio >> 32
    return _Layer(size, rare, flipped, shift, min(max(ratio >> 24, _MODELS[0]), _MODELS[1]))


def _escape(model: int) -> int:
    """The escape symbol of a model: its last symbol."""
    return 7 + 4 * (512 // (511 - 2 * model))


def _bounds(model: int) -> npt.NDArray[np.uint32]:
    """The first slot of each symbol, followed by the number of slots."""
    symbols = _escape(model) + 1
    bounds, power = [], 1 << 32
    for symbol in range(symbols):
        bounds.append(symbol + (((1 << 32) - power) * (_SLOTS - symbols) >> 32))
        power = power * (2 * model + 1) >> 9
    return np.array([*bounds, _SLOTS], np.uint32)


def _lanes(coded: Sequence[_Layer]) -> int:
    # About a kilobyte per state of four bytes; the number of rounds hardly depends on the size.
    return 1 + sum(layer.rare * (layer.shift + 2) for layer in coded) // 8192


def _symbols(high: npt.NDArray[np.int64], escape: int) -> npt.NDArray[np.uint8]:
    """The symbols of gaps without their lower bits, including escapes."""
    before, last = np.divmod(high, escape)
    ends = np.cumsum(before + 1) - 1
    symbols = np.full(ends[-1] + 1, escape, np.uint8)
    symbols[ends] = last
    return symbols


def _to_bits(gaps: npt.NDArray[np.int64], shift: int) -> npt.NDArray[np.uint8]:
    """The lower bits of each gap, highest first, as zeros and ones `[len(gaps) * shift]`."""
    bits = np.empty((gaps.size, shift), np.uint8)
    for place in range(shift):
        bits[:, place] = gaps >> (shift - 1 - place) & 1
    return bits.reshape(-1)


def _compress(frequency: npt.NDArray[np.uint32], start: npt.NDArray[np.uint32], lanes: int) -> tuple[bytes, bytes]:
    """States and words for symbols with these numbers of slots and first slots: the decoder's steps in reverse."""
    state = np.full(lanes, _LEAST_STATE, np.uint32)
    words = np.empty(frequency.size, "<u2")
    position = words.size
    for first in reversed(range(0, frequency.size, lanes)):
        f = frequency[first : first + lanes]
        x = state[: f.size]
        full = x >= f << (32 - _BITS)
        above = x[full]
        x[full] = above >> 16
        position -= above.size
        words[position : position + above.size] = above & 0xFFFF
        x += x // f * (_SLOTS - f) + start[first : first + lanes]
    return state.astype("<u4").tobytes(), words[position:].tobytes()


def _decode(data: bytes, coded: Sequence[_Layer]) -> list[npt.NDArray[np.int64]]:
    """Decode the positions of the rare value in each layer."""
    lengths, start = _lengths(data, coded)
    lanes, low_bits = _lanes(coded), sum(layer.rare * layer.shift for layer in coded)
    end = len(data) - -(-low_bits // 8)
    num_words, odd = divmod(end - start - 4 * lanes, 2)
    # Each symbol adds more than half a bit to its state, so this bounds the allocation by the size of the data.
    if odd or num_words < 0 or sum(lengths) > 32 * (lanes + num_words):
        raise ValueError(f"{len(data)} bytes of masks do not hold {sum(lengths)} symbols")
    states = np.frombuffer(data, "<u4", lanes, start).astype(np.uint32)
    words = np.frombuffer(data, "<u2", num_words, start + 4 * lanes).astype(np.uint32)
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=end))
    if bits[low_bits:].any():
        raise ValueError("the last byte of the masks is not padded with zeros")
    symbols = iter(_expand(states, words, lengths, [layer.model for layer in coded]))
    positions, first = [], 0
    for layer in coded:
        low = _from_bits(bits[first : first + layer.rare * layer.shift], layer)
        positions.append(_positions(next(symbols), low, layer))
        first += layer.rare * layer.shift
    return positions


def _lengths(data: bytes, coded: Sequence[_Layer]) -> tuple[list[int], int]:
    """The number of symbols of each layer, and the position in the data after these numbers."""
    lengths, position = [], 0
    for layer in coded:
        escapes, position = _read_varint(data, position)
        most = (layer.size - layer.rare >> layer.shift) // _escape(layer.model)
        if escapes > most:
            raise ValueError(f"a mask of {layer.size} weights has {escapes} escapes, allowed are {most}")
        lengths.append(layer.rare + escapes)
    return lengths, position


def _expand(
    state: npt.NDArray[np.uint32], words: npt.NDArray[np.uint32], lengths: Sequence[int], models: Sequence[int]
) -> list[npt.NDArray[np.uint8]]:
    """Decode the symbols of each layer from the states and words."""
    used = sorted(set(models))
    bounds = [_bounds(model) for model in used]
    widths = [np.diff(b) for b in bounds]
    symbol_at = np.concatenate([np.repeat(np.arange(w.size, dtype=np.uint8), w) for w in widths])
    frequency_at = np.concatenate([np.repeat(w, w) for w in widths])
    inside_at = np.concatenate([np.arange(_SLOTS, dtype=np.uint32) - np.repeat(b[:-1], np.diff(b)) for b in bounds])
    # One numbering for the slots of all models: the start of each symbol's model first, later the symbol's slot.
    slots = np.repeat(np.array([used.index(model) * _SLOTS for model in models], np.uint32), lengths)
    position = 0
    for first in range(0, slots.size, state.size):
        slot = slots[first : first + state.size]
        x = state[: slot.size]
        slot += x & (_SLOTS - 1)
        x >>= _BITS
        x *= frequency_at[slot]
        x += inside_at[slot]
        low = x < _LEAST_STATE
        begun = x[low]
        taken = words[position : position + begun.size]
        if taken.size != begun.size:
            raise ValueError("the masks end too early")
        x[low] = begun << 16 | taken
        position += begun.size
    if position != words.size or (state != _LEAST_STATE).any():
        raise ValueError("the masks do not end where they should")
    return np.split(symbol_at[slots], np.cumsum(lengths)[:-1])


def _from_bits(bits: npt.NDArray[np.uint8], layer: _Layer) -> npt.NDArray[np.int64]:
    """The lower bits of each gap as one number."""
    low = np.zeros(layer.rare, np.int64)
    for place in bits.reshape(layer.rare, layer.shift).T:
        low = low << 1 | place
    return low


def _positions(symbols: npt.NDArray[np.uint8], low: npt.NDArray[np.int64], layer: _Layer) -> npt.NDArray[np.int64]:
    last = symbols != _escape(layer.model)  # the symbol that ends a gap
    if np.count_nonzero(last) != layer.rare or not last[-1]:
        raise ValueError(f"a mask of {layer.size} weights has a number of gaps other than {layer.rare}")
    before = np.cumsum(symbols, dtype=np.int64)[last] << layer.shift
    positions = before + np.cumsum(low) + np.arange(layer.rare)
    if positions[-1] >= layer.size:
        raise ValueError(f"a mask of {layer.size} weights has a weight number {positions[-1]}")
    return positions


def _mask(layer: _Layer, positions: npt.NDArray[np.int64]) -> Mask:
    mask = np.full(layer.size, layer.flipped)
    mask[positions] = not layer.flipped
    return mask


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 128:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a number. Returns it and the position after it."""
    value = 0
    for shift in range(0, 63, 7):
        if position == len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("the masks have no number of escapes")
