"""Lines for a terminal or a log. Whatever a file, a name or an option holds is shown, and never acted upon."""

from __future__ import annotations

import sys


def escaped(text: object) -> str:
    r"""One line in which every character that is not printable is written as an escape, such as \x1b or \u202e.

    These are control characters, line breaks, marks that change the direction of text, and halves of surrogate pairs.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def say(line: object) -> None:
    """Print a line on standard output, escaped, at once."""
    print(escaped(line), flush=True)


def note(line: object) -> None:
    """Print a line on standard error, escaped, at once; white space and line breaks become single spaces."""
    print("ugts: " + escaped(" ".join(str(line).split())), file=sys.stderr, flush=True)
