"""Lines for a terminal or a log. Whatever a file, a name or an option holds is shown, and never acted upon."""

from __future__ import annotations

import sys


def escaped(text: object, keep: str = "") -> str:
    r"""The text with every character that is not printable as an escape, such as \x1b or \u202e, but those in `keep`.

    These are control characters, line breaks, marks that change the direction of text, and halves of surrogate pairs.
    """
    shown = (c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(shown)


def say(line: object) -> None:
    """Print a line on standard output, escaped, at once."""
    print(escaped(line), flush=True)


def note(line: object) -> None:
    """Print a line on standard error, escaped, at once; white space and line breaks become single spaces."""
    print("ugts: " + escaped(" ".join(str(line).split())), file=sys.stderr, flush=True)
