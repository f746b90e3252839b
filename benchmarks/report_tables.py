"""Figures in the Markdown tables that scripts print, and targets for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_RULE = re.compile(r"^\|(?: *:?-+:? *\|)+$")


@dataclass(frozen=True)
class Figures:
    """One table."""

    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Target:
    """A figure that is aimed at: the first number of a cell, at most or at least `bound`.

    Attributes:
        row: the first cell of the row.
        column: the header of the column.
    """

    row: str
    column: str
    bound: float
    at_most: bool

    def holds(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{self.row}: {self.column} {'at most' if self.at_most else 'at least'} {self.bound:g}"


def read_tables(text: str) -> list[Figures]:
    """All Markdown tables of a text, with other lines between them."""
    lines = text.splitlines()
    return [
        Figures(_cells(lines[k - 1]), [_cells(line) for line in _until_other(lines[k + 1 :])])
        for k, line in enumerate(lines)
        if k and _RULE.match(line)
    ]


def reached(target: Target, tables: Sequence[Figures]) -> float | None:
    """The figure of a target; None if no table has it."""
    for figures in tables:
        if target.column in figures.header:
            column = figures.header.index(target.column)
            for row in figures.rows:
                number = _NUMBER.search(row[column]) if row[0] == target.row else None
                if number:
                    return float(number[0].replace(",", ""))
    return None


def _until_other(lines: Sequence[str]) -> list[str]:
    end = next((k for k, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return list(lines[:end])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
