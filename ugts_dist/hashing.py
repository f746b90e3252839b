"""Counter-based random bits: a hash of a number's purpose, instead of a generator with a state.

The bits are those of the splitmix64 finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"; constants of Stafford's variant 13). Tensors hold the 64 bits as int64, whose products wrap around alike on
CPU and GPU, so that the same inputs give the same bits everywhere.
"""

from __future__ import annotations

from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def key(*parts: int) -> int:
    """Combine integers, in order, into one key: a signed 64-bit number, as in tensors.

    The parts count modulo 2^64.
    """
    state = 0
    for part in parts:
        state = (state + part + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return signed(state)


def key_of(start: int | Tensor, part: int | Tensor) -> Tensor:
    """`key` with one more part on a device: `key(*parts, part)` from `start = key(*parts)`; one of them is a tensor.

    `key` begins with 0.
    """
    return mix(start + part + signed(_GOLDEN))  # type: ignore[arg-type]


def mix(bits: Tensor) -> Tensor:
    """Scramble 64-bit integers: int64 of any shape to int64 of that shape, one to one."""
    bits = (bits ^ _shifted(bits, 30)) * signed(_FIRST)
    bits = (bits ^ _shifted(bits, 27)) * signed(_SECOND)
    return bits ^ _shifted(bits, 31)


def stream(start: int | Tensor, counter: int | Tensor) -> Tensor:
    """Element ``counter`` of the random sequence ``start``; one of the two is an int64 tensor."""
    if isinstance(counter, int):
        counter = signed((counter * _GOLDEN) & _MASK)
    else:
        counter = counter * signed(_GOLDEN)
    return mix(start + counter)  # type: ignore[arg-type]  # at least one of the two is a tensor


def below(bits: Tensor, limit: Tensor) -> Tensor:
    """Convert 64 random bits to integers in [0, limit), int64, using the top 53 bits as a fraction.

    Exact in double precision on every device, and never equal to ``limit``. For a limit n the probabilities differ from
    1 / n by less than 2^-53.
    """
    return (_shifted(bits, 11).double() * 2.0**-53 * limit).long()


def _shifted(bits: Tensor, count: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask clears the copies of the sign.
    return (bits >> count) & ((1 << (64 - count)) - 1)


def signed(bits: int) -> int:
    """The signed 64-bit number that equals an integer modulo 2^64."""
    bits &= _MASK
    return bits - (1 << 64) if bits >> 63 else bits
