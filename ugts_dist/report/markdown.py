"""A page as GitHub Markdown, and a page's folder: index.html and README.md with figures beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ugts_dist.atomic import write_file, write_text
from ugts_dist.errors import InputError
from ugts_dist.report.html import render
from ugts_dist.report.owned import MARK, PAGE, check_ours
from ugts_dist.report.page import Block, Code, Details, Figure, Page, Paragraph, Problem, Section, Table
from ugts_dist.report.text import cell_text, legend, paragraphs
from ugts_dist.terminal import escaped

_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~$!]")
_KEPT = "\n\t"  # characters that are not printable but stay
_AT_START = re.compile(r"^(?=[#+=:-])|^(\d+)(?=[.)])")


def write_page(page: Page, folder: Path) -> None:
    """Write `index.html` and `README.md`, and `figure-N.png` for figures without a file.

    Raises InputError, before anything is written, if one of the two exists and is not ours, and if a figure can't be
    read.
    """
    html, readme = folder / PAGE, folder / "README.md"
    check_ours(html)
    check_ours(readme)
    figures = list(_figures(block for section in page.sections for block in section.blocks))
    data = {id(figure): figure.read(folder) for figure in figures}
    names = {id(figure): _name(figure, number) for number, figure in enumerate(figures, 1)}
    made = {names[id(figure)]: data[id(figure)] for figure in figures if isinstance(figure.png, bytes)}
    for name in made:
        if not readme.exists() and (folder / name).exists():
            raise InputError(f"{folder / name}: exists, and is no figure of a page; allowed is a new file")
    for name, png in made.items():
        write_file(folder / name, png)
    write_text(html, render(page, folder))
    write_text(readme, to_markdown(page, names))


def to_markdown(page: Page, names: dict[int, str] | None = None) -> str:
    """The page's text; `names` has the files of figures that are given as bytes, by `id`."""
    blocks = [MARK, f"# {_line(page.title)}", *_text(page.intro)]
    for section in page.sections:
        blocks += _section(section, names or {})
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section, names: dict[int, str]) -> Iterator[str]:
    yield f"## {_line(section.title)}"
    yield from _text(section.text)
    for block in section.blocks:
        yield from _block(block, names)


def _block(block: Block, names: dict[int, str]) -> Iterator[str]:
    match block:
        case Table():
            yield _table(block)
            yield from _text(block.note)
            yield _line(legend(block))
        case Figure():
            name = names.get(id(block), _name(block, 1))
            yield f"![{_line(block.caption)}]({quote(name)})"
            yield _line(block.caption)
        case Paragraph():
            yield from _text(block.text)
        case Problem():
            yield f"> {_line(block.text)}"
        case Code():
            yield _fenced(block.text)
        case Details():
            # GitHub folds it; other programs show it open.
            # Up to the next empty line this is HTML, in which Markdown's escapes mean nothing.
            yield f"<details><summary>{escape(escaped(' '.join(block.title.split())))}</summary>"
            yield from _block(block.block, names)
            yield "</details>"


def _table(block: Table) -> str:
    width = len(block.headings) or (len(block.rows[0]) if block.rows else 0)
    headings = [_line(heading) for heading in block.headings] or [""] * width
    lines = [headings, ["---"] * width, *([_line(cell_text(cell)) for cell in row] for row in block.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if width else ""


def _text(text: str) -> Iterator[str]:
    for paragraph in paragraphs(text):
        spans = (_span(part) if is_code else _escaped(part) for part, is_code in paragraph)
        yield _AT_START.sub(r"\1\\", "".join(spans).strip())


def _line(text: str) -> str:
    return _AT_START.sub(r"\1\\", _escaped(" ".join(text.split())))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", escaped(text, keep=_KEPT))


def _span(text: str) -> str:
    """Escape a text, which has no backquotes here: they separated it."""
    return f"`{escaped(text)}`" if text.strip() else _escaped(text)


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    ended = text if text.endswith("\n") else f"{text}\n"
    return f"{fence}\n{escaped(ended, keep=_KEPT)}{fence}"


def _figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Details):
            yield from _figures([block.block])


def _name(figure: Figure, number: int) -> str:
    return figure.png if isinstance(figure.png, str) else f"figure-{number}.png"
