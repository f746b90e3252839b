"""Lines for a terminal or a log. Contents of files, names and options are shown but never interpreted."""

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
    """Writes lines to standard error at once, each after its speaker: "ugts", or the record's `speaker`.

    A line is escaped; white space and line breaks become single spaces. Standard error is looked up for each line,
    because a progress bar on a terminal replaces it to keep lines apart from the bar.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        print(escaped(f"{getattr(record, 'speaker', 'ugts')}: {line}"), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Show log records on standard error, as the command line and its child processes do.

    A program that uses the library configures the logger "ugts_dist" with the standard library's `logging`.
    """
    logger = logging.getLogger("ugts_dist")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [StandardError()]
