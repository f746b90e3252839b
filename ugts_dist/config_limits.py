"""The limits of a configuration's numbers: what lies outside of them is a mistake, told before it takes memory."""

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
MAX_SCALE = 1e30  # of what is multiplied with float32 numbers, which end at 3.4e38


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raises InputError, in one line, unless the condition holds."""
    if not condition:
        raise InputError(f"{name} is {value}, allowed is {allowed}")


def require_count(name: str, value: int, least: int, most: int) -> None:
    """Raises InputError for a whole number outside of its limits."""
    require(least <= value <= most, name, value, f"{least} to {most}")


def require_scale(name: str, value: float) -> None:
    """Raises InputError for a factor that is not positive, or not one that float32 numbers can be multiplied by."""
    require(1 / MAX_SCALE <= value <= MAX_SCALE, name, value, f"above 0, {1 / MAX_SCALE:g} to {MAX_SCALE:g}")
