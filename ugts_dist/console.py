"""Tables on standard output, by rich. Contents of files and names are escaped and never read as markup."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ugts_dist.terminal import escaped

_PIPED_WIDTH = 200  # for programs that read the output: hardly any line is folded


def plain(value: object, style: str = "") -> Text:
    """A text for rich that is shown as it is, escaped."""
    return Text(escaped(value), style=style)


def output() -> Console:
    """Standard output: as wide as the terminal; very wide in a pipe or a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def errors() -> Console:
    """Standard error, for bars and other progress."""
    return Console(stderr=True)


def new_table(title: str, headings: Iterable[str], numbers: bool = True) -> Table:
    """A table without rows. Its columns, except the first, contain numbers or text.

    On a narrow terminal all columns fold: a number is never cut.
    """
    table = Table(title=plain(title) if title else None, title_justify="left", title_style="bold")
    for number, heading in enumerate(headings):
        is_number = numbers and number > 0
        table.add_column(plain(heading), overflow="fold", justify="right" if is_number else "left")
    return table


def pairs(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values."""
    table = new_table(title, ("", ""), numbers=False)
    table.show_header = False
    for name, value in rows:
        table.add_row(plain(name), plain(value))
    return table
