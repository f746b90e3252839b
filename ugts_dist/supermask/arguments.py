"""Checks of arguments. Each raises ValueError with the argument's name, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from numbers import Real
from reprlib import repr as short
from typing import Any

MAX_SEED = 2**64 - 1
MIN_SEED = -(2**63)


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Check for a whole number from `least` to `most`. A boolean is not one."""
    allowed = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise refused(name, value, allowed)
    try:
        number = value.__index__()
    except TypeError:  # an array of several numbers
        raise refused(name, value, allowed) from None
    if number < least or (most is not None and number > most):
        raise refused(name, value, allowed)
    return int(number)


def seed(name: str, value: Any) -> int:
    """Check for a seed that a ticket can store."""
    return whole(name, value, MIN_SEED, MAX_SEED)


def fraction(name: str, value: Any, *, below_one: bool) -> float:
    """Check for a number in [0, 1], or in [0, 1) if `below_one`."""
    if not _is_number(value) or not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        raise refused(name, value, "[0, 1)" if below_one else "[0, 1]")
    return float(value)


def positive(name: str, value: Any) -> float:
    """Check for a number above 0 of moderate size, so that products with other float32 numbers stay finite."""
    if not _is_number(value) or not 2.0**-64 <= value <= 2.0**64:
        raise refused(name, value, "a number from 2^-64 to 2^64")
    return float(value)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Check for one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise refused(name, value, ", ".join(allowed))
    return value


def flag(name: str, value: Any) -> bool:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise refused(name, value, "True or False")
    return value


def names(name: str, values: Any) -> tuple[str, ...]:
    """Check for a collection of names. A single string is not one: it would be read letter by letter."""
    checked = None if isinstance(values, str) or not hasattr(values, "__iter__") else tuple(values)
    if checked is None or not all(isinstance(one, str) for one in checked):
        raise refused(name, values, "a collection of names")
    return checked


def known(name: str, values: Collection[str], allowed: Collection[str]) -> None:
    """Check that each name is allowed."""
    for value in values:
        if value not in allowed:
            raise ValueError(f"{name} is {short(value)}, allowed are {', '.join(allowed)}")


def refused(name: str, value: Any, allowed: str) -> ValueError:
    """The error for a value that is not allowed."""
    return ValueError(f"{name} is {short(value)}, allowed is {allowed}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
