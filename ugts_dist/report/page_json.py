"""Pages to and from what JSON holds. A page may come from anybody, so everything in it is checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import PurePosixPath
from reprlib import repr as short
from typing import Any, TypeVar, get_args

from ugts_dist.errors import InputError
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Kind, Page, Paragraph, Problem, Section, Table

_MAX_FOLDS = 8  # one fold in another

_TEXTS: dict[str, type[Paragraph | Problem | Code]] = {"paragraph": Paragraph, "problem": Problem, "code": Code}

Part = TypeVar("Part")


def plain_page(page: Page) -> dict[str, Any]:
    """Nested plain values; a block's `block` tells its type, a figure's bytes are base64."""
    sections = [
        {"title": section.title, "text": section.text, "blocks": [_plain_block(block) for block in section.blocks]}
        for section in page.sections
    ]
    return {"title": page.title, "intro": page.intro, "sections": sections}


def page_of(values: Any, source: str) -> Page:
    """The page. Raises InputError, in one line that begins with `source` and the place of the mistake."""
    fields = _fields(values, source, {"title"}, {"intro", "sections"})
    sections = _each(fields.get("sections", []), f"{source}: sections", _section)
    return Page(_text(fields, "title", source), _text(fields, "intro", source), sections)


def _plain_block(block: Block) -> dict[str, Any]:
    match block:
        case Table():
            rows = [[_plain_cell(cell) for cell in row] for row in block.rows]
            return {"block": "table", "headings": list(block.headings), "rows": rows, "note": block.note}
        case Figure(bytes() as png, caption):
            return {"block": "figure", "base64": base64.b64encode(png).decode(), "caption": caption}
        case Figure(png, caption):
            return {"block": "figure", "png": png, "caption": caption}
        case Details():
            return {"block": "details", "title": block.title, "content": _plain_block(block.block)}
        case Paragraph() | Problem() | Code():
            return {"block": type(block).__name__.lower(), "text": block.text}


def _plain_cell(cell: str | Cell) -> Any:
    return {"text": cell.text, "kind": cell.kind} if isinstance(cell, Cell) else cell


def _section(values: Any, where: str) -> Section:
    fields = _fields(values, where, {"title"}, {"text", "blocks"})
    blocks = _each(fields.get("blocks", []), f"{where}.blocks", _block)
    return Section(_text(fields, "title", where), _text(fields, "text", where), blocks)


def _block(values: Any, where: str, folds: int = 0) -> Block:
    kind = values.get("block") if isinstance(values, dict) else None
    match kind:
        case "table":
            return _table(_fields(values, where, {"headings", "rows"}, {"block", "note"}), where)
        case "figure":
            return _figure(_fields(values, where, {"caption"}, {"block", "png", "base64"}), where)
        case "details":
            fields = _fields(values, where, {"title", "content"}, {"block"})
            if folds == _MAX_FOLDS:
                raise InputError(f"{where}: more than {_MAX_FOLDS} details in each other")
            return Details(_text(fields, "title", where), _block(fields["content"], f"{where}.content", folds + 1))
        case "paragraph" | "problem" | "code":
            return _TEXTS[kind](_text(_fields(values, where, {"text"}, {"block"}), "text", where))
        case _:
            allowed = "table, figure, paragraph, problem, code, details"
            raise InputError(f"{where}.block is {short(kind)}, allowed are {allowed}")


def _table(fields: dict[str, Any], where: str) -> Table:
    headings = _each(fields["headings"], f"{where}.headings", _string)
    rows = _each(fields["rows"], f"{where}.rows", lambda row, there: _each(row, there, _cell))
    try:
        return Table(headings, rows, _text(fields, "note", where))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _figure(fields: dict[str, Any], where: str) -> Figure:
    caption = _text(fields, "caption", where)
    if ("png" in fields) == ("base64" in fields):
        raise InputError(f"{where}: allowed is one of png, base64")
    if "png" in fields:
        path = PurePosixPath(_text(fields, "png", where))
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise InputError(f"{where}.png is {short(str(path))}, allowed is a path within the page's folder")
        return Figure(str(path), caption)
    try:
        return Figure(base64.b64decode(_text(fields, "base64", where), validate=True), caption)
    except (binascii.Error, ValueError):
        raise InputError(f"{where}.base64: allowed is a PNG in base64") from None


def _cell(value: Any, where: str) -> str | Cell:
    if isinstance(value, str):
        return value
    fields = _fields(value, where, {"text", "kind"}, set())
    if fields["kind"] not in get_args(Kind):
        raise InputError(f"{where}.kind is {short(fields['kind'])}, allowed are {', '.join(get_args(Kind))}")
    return Cell(_text(fields, "text", where), fields["kind"])


def _fields(values: Any, where: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{where} is {short(values)}, allowed is an object")
    for name in sorted(needed - values.keys()):
        raise InputError(f"{where}: {name} is missing")
    for name in values.keys() - needed - optional:
        raise InputError(f"{where}: unknown field {short(name)}, allowed are {', '.join(sorted(needed | optional))}")
    return values


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    return _string(fields.get(name, ""), f"{where}.{name}")


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} is {short(value)}, allowed is a text")
    return value


def _each(values: Any, where: str, make: Callable[[Any, str], Part]) -> list[Part]:
    if not isinstance(values, list):
        raise InputError(f"{where} is {short(values)}, allowed is a list")
    return [make(value, f"{where}[{number}]") for number, value in enumerate(values)]
