"""A page as one HTML file with its style and figures, which loads nothing.

It is a tree of elements that the standard library writes, so that every tag is closed and every text is escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import ugts_dist
from ugts_dist.errors import InputError
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Page, Paragraph, Problem, Section, Table
from ugts_dist.report.style import STYLE
from ugts_dist.report.text import cell_text, legend, numeric_columns, paragraphs
from ugts_dist.terminal import escaped

GENERATOR = "ugts report"
# Even if a text became markup, none of it would be run or loaded.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MANY_ROWS = 60  # above it a table has its own scroll box; with fewer rows that would be hard to read on a phone
_LONG_WORD = re.compile(r"\S{32}")  # a checksum or a path, too long for a line of a narrow screen


def render(page: Page, folder: Path) -> str:
    """The whole file. Figures with a path are read from `folder`.

    A figure that can't be read is replaced by a problem.
    """
    root = Element("html", lang="en")
    _head(root, page.title)
    body = SubElement(root, "body")
    main = SubElement(body, "main")
    _add(main, "h1", page.title)
    _text(main, page.intro)
    if len(page.sections) > 2:
        _contents(main, page.sections)
    for number, section in enumerate(page.sections):
        there = SubElement(main, "section", id=f"section-{number}")
        _add(there, "h2", section.title)
        _text(there, section.text)
        _blocks(there, section.blocks, folder)
    _add(body, "footer", f"Written by ugts_dist {ugts_dist.__version__}.")
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def is_report(start: str) -> bool:
    """Whether a file with this beginning was written by `render`."""
    return start.startswith("<!DOCTYPE html>") and f'<meta name="generator" content="{GENERATOR}">' in start


def _head(root: Element, title: str) -> None:
    head = SubElement(root, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="generator", content=GENERATOR)
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", title)
    SubElement(head, "style").text = STYLE


def _contents(parent: Element, sections: Iterable[Section]) -> None:
    items = SubElement(SubElement(parent, "nav"), "ul")
    for number, section in enumerate(sections):
        _add(SubElement(items, "li"), "a", section.title).set("href", f"#section-{number}")


def _blocks(parent: Element, blocks: Iterable[Block], folder: Path) -> None:
    """Add blocks. Consecutive figures are side by side if there is room."""
    for are_figures, group in groupby(blocks, lambda block: isinstance(block, Figure)):
        there = SubElement(parent, "div", {"class": "figures"}) if are_figures else parent
        for block in group:
            _block(there, block, folder)


def _block(parent: Element, block: Block, folder: Path) -> None:
    match block:
        case Table():
            _table(parent, block)
        case Figure():
            _figure(parent, block, folder)
        case Paragraph():
            _text(parent, block.text)
        case Problem():
            _add(parent, "p", block.text).set("class", "problem")
        case Code():
            _add(SubElement(parent, "pre"), "code", block.text)
        case Details():
            there = SubElement(parent, "details")
            _add(there, "summary", block.title)
            _block(there, block.block, folder)


def _table(parent: Element, block: Table) -> None:
    # In the tab order it can be scrolled by keyboard.
    name = "scroll tall" if len(block.rows) > _MANY_ROWS else "scroll"
    there = SubElement(parent, "div", {"class": name, "tabindex": "0"})
    table = SubElement(there, "table", {} if block.headings else {"class": "pairs"})
    numeric = numeric_columns(block)
    if block.headings:
        row_of_headings = SubElement(SubElement(table, "thead"), "tr")
        for heading, is_number in zip(block.headings, numeric, strict=True):
            element = _add(row_of_headings, "th", heading)
            element.attrib.update({"scope": "col"} | ({"class": "number"} if is_number else {}))
    body = SubElement(table, "tbody")
    for row in block.rows:
        line = SubElement(body, "tr")
        for column, cell in enumerate(row):
            element = _add(line, "td" if column else "th", cell_text(cell))
            classes: list[str] = [cell.kind] if isinstance(cell, Cell) and cell.kind != "plain" else []
            classes += ["number"] if numeric and numeric[column] else []
            classes += ["long"] if _LONG_WORD.search(cell_text(cell)) else []
            element.attrib.update({} if column else {"scope": "row"})
            element.attrib.update({"class": " ".join(classes)} if classes else {})
    for note in (block.note, legend(block)):
        for paragraph in _text(parent, note):
            paragraph.set("class", "note")


def _figure(parent: Element, block: Figure, folder: Path) -> None:
    try:
        data = block.read(folder)
    except InputError as error:
        _add(parent, "p", str(error)).set("class", "problem")
        return
    figure = SubElement(parent, "figure")
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    SubElement(figure, "img", src=source, alt=_clean(block.caption))
    _add(figure, "figcaption", block.caption)


def _text(parent: Element, text: str) -> list[Element]:
    """Add paragraphs with inline code."""
    made = []
    for paragraph in paragraphs(text):
        element = SubElement(parent, "p")
        last: Element | None = None
        for part, is_code in paragraph:
            if is_code:
                last = _add(element, "code", part)
            elif last is None:
                element.text = _clean(part)
            else:
                last.tail = _clean(part)
        made.append(element)
    return made


def _add(parent: Element, tag: str, text: str) -> Element:
    element = SubElement(parent, tag)
    element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    """The text without characters that HTML does not allow or that change the direction of text."""
    return escaped(text.replace("\r\n", "\n"), keep="\n\t")
