"""Results of analyses in a folder: for each a PNG, a JSON object, or both, with any content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ugts_dist.config import flat
from ugts_dist.report.files import Folder
from ugts_dist.report.page import Block, Details, Figure, Paragraph, Problem, Section, Table
from ugts_dist.report.text import shown

_MOST_ROWS = 200
_FEW_ROWS = 12
_FEW_VALUES = 10
_LONGEST_NAME = 80


def analyses(folder: Folder) -> list[Section]:
    """A section for each analysis in the folder `analysis`, in the order of their names."""
    place = folder.path / "analysis"
    files = [*place.glob("*.json"), *place.glob("*.png")] if place.is_dir() else []
    return [_analysis(folder, name) for name in sorted({file.stem for file in files})]


def _analysis(folder: Folder, name: str) -> Section:
    blocks: list[Block] = []
    if folder.has(f"analysis/{name}.png"):
        blocks.append(Figure(f"analysis/{name}.png", name))
    before = len(folder.problems)
    values = folder.json(f"analysis/{name}.json")
    # A problem with an analysis is shown in its section.
    blocks += [Problem(problem) for problem in folder.problems[before:]]
    del folder.problems[before:]
    return Section(f"Analysis: {name}", blocks=[*blocks, *_parts(values or {})])


def _parts(values: Mapping[str, Any]) -> Iterator[Block]:
    """The result first, if the values have one; inputs and options are folded."""
    result = values.get("result")
    if not isinstance(result, dict):
        yield from _values(values)
        return
    yield from _values(result)
    rest = [[name, shown(value)] for name, value in flat(values).items() if not name.startswith("result.")]
    if rest:
        yield Details("How it was made", Table((), rest[:_MOST_ROWS], _left_out(len(rest))))


def _values(values: Mapping[str, Any]) -> Iterator[Block]:
    """Scalars and short lists as pairs; lists of objects as tables."""
    by_name = flat(values)
    pairs = [[name, _cell_text(value)] for name, value in by_name.items() if _is_short(value)]
    if pairs:
        yield _folded("Values", Table((), pairs[:_MOST_ROWS], _left_out(len(pairs))))
    for name, value in by_name.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            rows = [flat(entry) for entry in value]
            headings = list(dict.fromkeys(key for row in rows for key in row if _is_short(row[key])))
            if headings:
                cells = [[_cell_text(row.get(heading)) for heading in headings] for row in rows[:_MOST_ROWS]]
                yield Paragraph(f"{name[:_LONGEST_NAME]}:")
                yield _folded(name[:_LONGEST_NAME], Table(headings, cells, _left_out(len(rows))))


def _is_short(value: Any) -> bool:
    """Whether it fits a cell: a scalar, or a few of them."""
    if not isinstance(value, list):
        return True
    return 0 < len(value) <= _FEW_VALUES and not any(isinstance(entry, list | dict) for entry in value)


def _cell_text(value: Any) -> str:
    return ", ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def _folded(title: str, table: Table) -> Block:
    return table if len(table.rows) <= _FEW_ROWS else Details(title, table)


def _left_out(count: int) -> str:
    return f"The first {_MOST_ROWS} of {count:,}." if count > _MOST_ROWS else ""
