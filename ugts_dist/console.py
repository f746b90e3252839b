"""Tables on standard output, by rich. What files and names hold is escaped, and never taken for markup."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ugts_dist.terminal import escaped

_PIPED_WIDTH = 200  # for a program that reads it: hardly a line is folded


def plain(value: object, style: str = "") -> Text:
    """A text for rich that is shown as it is, escaped."""
    return Text(escaped(value), style=style)


def output() -> Console:
    """Standard output: as wide as the terminal, and very wide in a pipe or a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)
