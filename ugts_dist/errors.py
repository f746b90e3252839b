"""What ends a command with one line: a user's mistake, a signal, a lost rank."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in the input, told in one line: the field or file, its value, and what is allowed.

    The command line prints it without a traceback and exits with code 2.
    """


class InUseError(InputError):
    """Another process holds what this one needs: the same command may succeed once that has ended."""


class StoppedError(Exception):
    """A run was asked to stop and has saved what it needs to go on. The command line exits with code 75.

    75 is EX_TEMPFAIL of sysexits.h, "try again": what batch systems can be told to requeue on.
    """


class LostRankError(RuntimeError):
    """Other ranks have died or do not answer; the message names them. The command line exits with code 1."""
