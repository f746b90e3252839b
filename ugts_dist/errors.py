"""Errors that end a command with one line: a user's mistake, a signal, a lost rank."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

TRY_AGAIN = 75  # exit code EX_TEMPFAIL of sysexits.h: a stopped run that has saved a checkpoint
_MOST_LISTED = 30  # known names that a message lists


class InputError(ValueError):
    """A mistake in the input, in one line: the field or file, its value, and what is allowed.

    The command line prints it without a traceback and exits with code 2.
    """


class RankInputError(InputError):
    """A mistake in how one rank was started. Other ranks may not know of it, so each rank prints its own."""


class InUseError(InputError):
    """Another process holds what this one needs. The same command may succeed after that has ended."""


class StoppedError(Exception):
    """A run was asked to stop and has saved what it needs to resume. The command line exits with code 75.

    75 is EX_TEMPFAIL of sysexits.h, "try again". Batch systems can be configured to requeue on it.
    """


class InterruptedRunError(StoppedError):
    """The run was stopped by Ctrl-C. The command line exits with code 130, as shells expect."""


class LostRankError(RuntimeError):
    """Other ranks have died or do not answer. The message names them. The command line exits with code 1."""


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def refuse_unknown(names: Iterable[str], known: Iterable[str], what: str, others: str = "") -> None:
    """Raise InputError for the first unknown name, with a suggestion.

    Args:
        what: what the name should be, such as "unknown field in [model]".
        others: what is allowed in addition to the known names. If there are very many, none is listed.
    """
    allowed = list(known)
    for name in names:
        if name not in allowed:
            listed = ", ".join([*allowed, others] if others else allowed)
            text = f"; allowed are {listed}" if len(allowed) <= _MOST_LISTED else ""
            raise InputError(f"{what} {_short(repr(name))}{did_you_mean(name, allowed)}{text}")


def _short(text: str) -> str:
    """A text to show, cut if it is very long."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)` with the most similar known name; empty if none is similar.

    A field without its section means that field. Two swapped letters are closer than a wrong one.
    """
    names = list(known)
    meant = [each for each in names if each.rpartition(".")[2] == name.lstrip("-")]
    meant += difflib.get_close_matches(name.lower(), names, n=5)
    swapped = [each for each in meant if sorted(each) == sorted(name.lower())]
    return f" (did you mean {(swapped or meant)[0]}?)" if meant else ""
