"""The one error that a user's mistake raises."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in the input, told in one line: the field or file, its value, and what is allowed.

    The command line prints it without a traceback and exits with code 2.
    """
