"""A page as read by an HTML parser that is independent of the writer."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "link", "input"}


@dataclass
class Parsed(HTMLParser):
    """The content of a page; parsing fails for a closing tag without an opening one.

    Attributes:
        text: of all elements but the style, in order.
        tables: rows of cells' texts; headings are a row.
        classes: of each cell, beside `tables`.
        links: of all attributes that can load or lead somewhere.
        tags: in order.
    """

    source: str
    text: str = ""
    style: str = ""
    tables: list[list[list[str]]] = field(default_factory=list)
    classes: list[list[list[str]]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    @classmethod
    def of(cls, file: Path) -> Parsed:
        return cls(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        self.links += [
            value for name, value in attributes.items() if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
            self.classes.append([])
        if tag == "tr":
            self.tables[-1].append([])
            self.classes[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.classes[-1][-1].append(attributes.get("class", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += "\n" if tag in ("p", "li", "h1", "h2", "pre", "td", "th") else ""

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if {"td", "th"} & {*self.open}:
            self.tables[-1][-1][-1] += data

    def pairs(self) -> dict[str, str]:
        """All rows of two cells."""
        return {row[0]: row[1] for table in self.tables for row in table if len(row) == 2}

    def table(self, *headings: str) -> list[list[str]]:
        """The rows of the one table with these headings."""
        (match,) = [table for table in self.tables if tuple(table[0]) == headings]
        return match[1:]

    def images(self) -> list[bytes]:
        """Every image of the page, each held by the page itself."""
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        return [base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True) for source in sources]

    def problems(self) -> int:
        return sum(attributes.get("class") == "problem" for _, attributes in self.tags)


def check_self_contained(page: Parsed) -> None:
    """Nothing is loaded and nothing runs; all links lead into the page."""
    assert all(link.startswith(("#section-", "data:image/png;base64,")) for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "url(" not in page.style
    assert "@import" not in page.style
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link[1:] for link in page.links if link.startswith("#")} <= targets
