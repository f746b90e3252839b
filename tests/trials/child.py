"""A process for what may end the interpreter."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import tests.processes  # noqa: F401  what the server imports that forks the processes

# Not a fork of this process: with torch for GPUs, autograd does not run in a fork after it has run in the parent.
_CONTEXT = multiprocessing.get_context("forkserver")


def in_child(run: Callable[..., str], *args: object) -> str:
    """What a function of a module returns in a process of its own; how that ended where it returns nothing."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_tell, args=(sender, run, args))
    process.start()
    sender.close()  # so that the end of the process ends the pipe
    seen = ""
    with contextlib.suppress(EOFError):
        seen = receiver.recv()
    process.join()
    code = process.exitcode or 0
    return seen or (f"killed by {signal.Signals(-code).name}" if code < 0 else "an exception")


def _tell(sender: Connection, run: Callable[..., str], args: tuple[object, ...]) -> None:
    sender.send(run(*args))
