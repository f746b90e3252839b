"""Lines for a terminal or a log. Whatever a file, a name or an option holds is shown, and never acted upon."""

from __future__ import annotations

import logging
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


class StandardError(logging.Handler):
    """Lines on standard error, each at once, after who says it: "ugts", or the record's `speaker`.

    A line is escaped; white space and line breaks become single spaces. Standard error is looked up for each line, as
    a progress bar on a terminal replaces it to keep lines apart from the bar.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        print(escaped(f"{getattr(record, 'speaker', 'ugts')}: {line}"), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Show what is logged on standard error, as the command line and the processes that it starts do.

    Who uses the library decides with the standard library's `logging` what becomes of the logger "ugts_dist".
    """
    logger = logging.getLogger("ugts_dist")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [StandardError()]
