"""Limits of the numbers in a configuration. Values outside them are mistakes, refused before they take memory."""

from __future__ import annotations

from ugts_dist.errors import InputError

MAX_SEED = 2**63 - 1
MAX_COUNT = 2**53  # steps, epochs, seed nodes: a whole number that floats and JSON hold
MAX_EPOCHS = 10**7
MAX_DEPTH = 10_000
MAX_WIDTH = 2**20
MAX_COATS = 64
MAX_FAN_OUT = 2**31 - 1
MAX_THREADS = 1024
MAX_SECONDS = 1e8  # three years
MAX_SCALE = 1e30  # of factors on float32 numbers, the largest of which is 3.4e38


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise InputError, in one line, unless the condition holds."""
    if not condition:
        raise InputError(f"{name} is {value}, allowed is {allowed}")


def require_count(name: str, value: int, least: int, most: int) -> None:
    """Raise InputError for a whole number outside its limits."""
    require(least <= value <= most, name, value, f"{least} to {most}")


def require_scale(name: str, value: float) -> None:
    """Raise InputError for a factor that is not positive, or too small or large for float32 products."""
    require(1 / MAX_SCALE <= value <= MAX_SCALE, name, value, f"above 0, {1 / MAX_SCALE:g} to {MAX_SCALE:g}")
