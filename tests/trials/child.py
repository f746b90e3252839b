"""A process for what may end the interpreter."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def in_child(run: Callable[[], str]) -> str:
    """What a function returns in a forked process; the signal or the exit code where it returns nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, run().encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        seen = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return seen or (f"killed by {signal.Signals(-code).name}" if code < 0 else "an exception")
