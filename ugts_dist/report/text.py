"""Texts of a page: paragraphs, inline code, signs of marked cells, and number formats."""

from __future__ import annotations

import math
import re
from typing import Any

from ugts_dist.report.page import Cell, Kind, Table

SIGNS: dict[Kind, str] = {"plain": "", "better": "▲", "worse": "▼", "missing": "∅", "best": "★"}
_NUMBER = re.compile(r"[-+\u2212▲▼★ ]*[\d,.]+(e[-+]?\d+)?(/\d+)?( ?%)?( ± [\d,.]+)?( ?%)?( \([-+]?[\d,.]+\))?|-")
_LONGEST = 200  # of a value from a file


def paragraphs(text: str) -> list[list[tuple[str, bool]]]:
    """The paragraphs of a text; each is a list of parts, with whether they are code."""
    texts = (" ".join(part.split()) for part in text.replace("\r\n", "\n").split("\n\n"))
    return [parts(paragraph) for paragraph in texts if paragraph]


def parts(text: str) -> list[tuple[str, bool]]:
    """Split a text at backquotes: parts between two of them are code. An odd one at the end is text."""
    cut = text.split("`")
    if len(cut) % 2 == 0:
        cut[-2:] = ["`".join(cut[-2:])]
    return [(part, number % 2 == 1) for number, part in enumerate(cut) if part]


def cell_text(cell: str | Cell) -> str:
    """A cell's text with its sign, which marks it without colour."""
    return f"{SIGNS[cell.kind]} {cell.text}".strip() if isinstance(cell, Cell) else cell


def numeric_columns(table: Table) -> list[bool]:
    """Whether each column under a heading has only numbers, and cells that are missing."""
    return [all(_is_number(row[column]) for row in table.rows) for column in range(len(table.headings))]


def _is_number(cell: str | Cell) -> bool:
    return (isinstance(cell, Cell) and cell.kind == "missing") or bool(_NUMBER.fullmatch(cell_text(cell) or "-"))


def legend(table: Table) -> str:
    """The meaning of the signs in a table; empty if it has none."""
    kinds = {cell.kind for row in table.rows for cell in row if isinstance(cell, Cell)}
    return ", ".join(f"{sign} {kind}" for kind, sign in SIGNS.items() if sign and kind in kinds)


def shown(value: Any) -> str:
    """A value of a file, to show: numbers with four decimals, or four digits if they are small or large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = "-" if value is None or value == "" else str(value)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**30 else f"about 10^{len(str(abs(value))) - 1}"
    if value and math.isfinite(value) and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.4g}"
    return f"{value:.4f}"


def setting(value: Any) -> str:
    """A configured value, to show: as short as it was written."""
    return f"{value:g}" if isinstance(value, float) else shown(value)
