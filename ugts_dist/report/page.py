"""A page as data, independent of its format, which is HTML or Markdown.

In the texts of pages, sections and paragraphs, an empty line ends a paragraph, and text between two backquotes is code.
There is no other markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ugts_dist.errors import InputError

Kind = Literal["plain", "better", "worse", "missing", "best"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PNG = 2**21  # bytes: a page has to stay small enough to be sent around


@dataclass(frozen=True)
class Cell:
    """A cell that is marked, by colour and sign, as better or worse than another figure, as best, or as missing."""

    text: str
    kind: Kind = "plain"


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first cell of a row is its name. Without headings: pairs of a name and a value.

    Raises InputError if a row has another length than the first one or the headings.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        allowed = len(self.headings) or (len(self.rows[0]) if self.rows else 0)
        for number, row in enumerate(self.rows):
            if len(row) != allowed:
                raise InputError(f"row {number} of a table has {len(row)} cells, allowed are {allowed}")


@dataclass(frozen=True)
class Figure:
    """A PNG: its bytes, or its path from the page's folder, and a caption."""

    png: str | bytes
    caption: str

    def read(self, folder: Path) -> bytes:
        """The PNG's bytes. Raises InputError if there is none, or if it is too large for a page."""
        if isinstance(self.png, bytes):
            data, where = self.png, self.caption
        else:
            where = str(folder / self.png)
            try:
                with open(where, "rb") as file:
                    data = file.read(_MAX_PNG + 1)
            except OSError as error:
                raise InputError(f"{where}: can't be read ({error.strerror}); a PNG is needed") from None
        if not data.startswith(_SIGNATURE):
            raise InputError(f"{where}: not a PNG")
        if len(data) > _MAX_PNG:
            raise InputError(f"{where}: more than {_MAX_PNG:,} bytes, which is the most that a page takes of a PNG")
        return data


@dataclass(frozen=True)
class Paragraph:
    """Text."""

    text: str


@dataclass(frozen=True)
class Problem:
    """A part that could not be shown, and why."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands, or a file, shown as they are."""

    text: str


@dataclass(frozen=True)
class Details:
    """A block that is folded under its title."""

    title: str
    block: Block


Block: TypeAlias = "Table | Figure | Paragraph | Problem | Code | Details"


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    text: str = ""
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    intro: str = ""
    sections: Sequence[Section] = ()
