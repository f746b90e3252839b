"""Domains: the values of a configuration field in a search."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ugts_dist.errors import InputError

KINDS = ("grid", "choice", "uniform", "log_uniform")


@dataclass(frozen=True)
class Values:
    """A list. With `grid` a search uses all values; otherwise a random search draws from them."""

    values: tuple[Any, ...]
    grid: bool = True

    def draw(self, generator: random.Random) -> Any:
        return self.values[generator.randrange(len(self.values))]

    def to_plain(self) -> dict[str, list[Any]]:
        return {"grid" if self.grid else "choice": list(self.values)}


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`; whole numbers include both ends. `log`: uniform in the logarithm."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, generator: random.Random) -> float | int:
        if self.whole and not self.log:
            return generator.randint(round(self.low), round(self.high))
        if not self.log:
            return self._within(generator.uniform(self.low, self.high))
        return self._within(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))

    def to_plain(self) -> dict[str, list[float | int]]:
        ends: list[float | int] = [int(end) if self.whole else end for end in (self.low, self.high)]
        return {"log_uniform" if self.log else "uniform": ends}

    def _within(self, value: float) -> float | int:
        """Rounded to six digits, or to a whole number."""
        value = round(value) if self.whole else float(f"{value:.6g}")
        return min(max(value, self.low), self.high) if not self.whole else int(value)


Domain = Values | Interval


def parse_domain(value: Any, hint: type | None, where: str) -> Domain:
    """Parse a domain of a space file: {grid = [...]}, {choice = [...]}, {uniform = [low, high]}, {log_uniform = ...}.

    Anything but a table is a single value. `hint` is the type of the field if it is a plain one.

    Raises InputError; the message begins with `where`.
    """
    if not isinstance(value, Mapping):
        return Values((value,))
    if len(value) != 1 or next(iter(value)) not in KINDS:
        raise InputError(f"{where} is {dict(value)!r}, allowed is a value or one of {', '.join(KINDS)}")
    kind, items = next(iter(value.items()))
    if not isinstance(items, list):
        raise InputError(f"{where}: {kind} is {items!r}, allowed is a list")
    if kind in ("grid", "choice"):
        if not items:
            raise InputError(f"{where}: {kind} is empty, allowed are one or more values")
        return Values(tuple(items), kind == "grid")
    return _interval("uniform" if kind == "uniform" else "log_uniform", items, hint, where)


def _interval(kind: Literal["uniform", "log_uniform"], items: list[Any], hint: type | None, where: str) -> Interval:
    if hint not in (int, float):
        raise InputError(f"{where}: {kind} is for numbers; allowed here are grid and choice")
    if len(items) != 2 or not all(type(item) in (int, float) and math.isfinite(item) for item in items):
        raise InputError(f"{where}: {kind} is {items!r}, allowed are two numbers, low and high")
    low, high = items
    if hint is int and not (type(low) is int and type(high) is int):
        raise InputError(f"{where}: {kind} is {items!r}, allowed are two whole numbers")
    if low >= high:
        raise InputError(f"{where}: {kind} is {items!r}, allowed is a low end below the high one")
    if kind == "log_uniform" and low <= 0:
        raise InputError(f"{where}: {kind} is {items!r}, allowed is a low end above 0")
    return Interval(float(low), float(high), kind == "log_uniform", hint is int)
