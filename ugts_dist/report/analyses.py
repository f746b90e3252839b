"""What analyses have left in a folder: for each a PNG, a JSON object, or both, of any content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ugts_dist.report.files import Folder
from ugts_dist.report.page import Block, Details, Figure, Problem, Section, Table
from ugts_dist.report.text import flat, told

_MOST_ROWS = 200
_FEW_ROWS = 12


def analyses(folder: Folder) -> list[Section]:
    """A section for each analysis in the folder `analysis`, in the order of their names."""
    there = folder.path / "analysis"
    files = [*there.glob("*.json"), *there.glob("*.png")] if there.is_dir() else []
    return [_analysis(folder, name) for name in sorted({file.stem for file in files})]


def _analysis(folder: Folder, name: str) -> Section:
    blocks: list[Block] = []
    if folder.has(f"analysis/{name}.png"):
        blocks.append(Figure(f"analysis/{name}.png", name))
    before = len(folder.problems)
    values = folder.json(f"analysis/{name}.json")
    # A problem with an analysis is told where the analysis is.
    blocks += [Problem(problem) for problem in folder.problems[before:]]
    del folder.problems[before:]
    return Section(f"Analysis: {name}", blocks=[*blocks, *_parts(values or {})])


def _parts(values: Mapping[str, Any]) -> Iterator[Block]:
    """The result first, where there is one of that name; what it was made of and how is folded away."""
    result = values.get("result")
    if not isinstance(result, dict):
        yield from _values(values)
        return
    yield from _values(result)
    rest = [[name, told(value)] for name, value in flat(values).items() if not name.startswith("result.")]
    if rest:
        yield Details("How it was made", Table((), rest[:_MOST_ROWS], _left_out(len(rest))))


def _values(values: Mapping[str, Any]) -> Iterator[Block]:
    """Scalars as pairs; lists of objects as tables of their scalars."""
    found = flat(values)
    pairs = [[name, told(value)] for name, value in found.items() if not isinstance(value, list)]
    if pairs:
        yield _folded("Values", Table((), pairs[:_MOST_ROWS], _left_out(len(pairs))))
    for name, value in found.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            rows = [flat(entry) for entry in value]
            headings = list(dict.fromkeys(key for row in rows for key in row if not isinstance(row[key], list)))
            if headings:
                cells = [[told(row.get(heading)) for heading in headings] for row in rows[:_MOST_ROWS]]
                yield _folded(name, Table(headings, cells, _left_out(len(rows))))


def _folded(title: str, table: Table) -> Block:
    return table if len(table.rows) <= _FEW_ROWS else Details(title, table)


def _left_out(count: int) -> str:
    return f"The first {_MOST_ROWS} of {count:,}." if count > _MOST_ROWS else ""
