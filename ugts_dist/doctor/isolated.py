"""Runs checks in child processes, so that one that hangs or crashes is reported like any other result."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe

from ugts_dist.errors import InputError, first_line

_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        text: the result, or why it failed.
        seconds: including the start of the process, for its first check; 0 if nothing was run.
        rows: further lines of the result.
    """

    name: str
    ok: bool
    text: str
    seconds: float = 0.0
    rows: tuple[Check, ...] = ()


Result = tuple[str, tuple[Check, ...]]
"""Text and rows of a check."""
Task = tuple[str, Callable[[], str | Result]]
"""Name and function of a check. The function and what it returns are pickled."""


def run(tasks: Sequence[Task], timeout: float) -> list[Check]:
    """Run checks in one process, one after the other; an exception, a signal or a timeout (seconds) fails a check.

    A new process continues after one that crashed or hung. If the first check fails, the others are not run.
    """
    checks: list[Check] = []
    while len(checks) < len(tasks):
        checks += _results(tasks[len(checks) :], timeout)
        if not checks[0].ok:
            reason = f"not run, because {checks[0].name} failed"
            return checks[:1] + [Check(name, False, reason) for name, _ in tasks[1:]]
    return checks


def _results(tasks: Sequence[Task], timeout: float) -> Iterator[Check]:
    """The checks of one process, up to the one that ends it too early."""
    ours, theirs = Pipe()
    with ours, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with theirs:
            command = [sys.executable, "-c", f"from {__name__} import main; main({theirs.fileno()})"]
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            with contextlib.suppress(OSError):  # an early end of the process is noticed when its answers are read
                ours.send([function for _, function in tasks])
            for name, _ in tasks:
                started = time.monotonic()
                answer, problem = None, f"no answer within {timeout:g} s"
                try:
                    answer = ours.recv() if ours.poll(timeout) else None
                except (EOFError, OSError):
                    problem = _ended(process.wait())
                ok, text, rows = answer or (False, problem, ())
                yield Check(name, ok, text, time.monotonic() - started, rows)
                if answer is None:
                    return
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of them have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main(descriptor: int) -> None:
    """The child process: sends (ok, text, rows) of each function."""
    connection = Connection(descriptor)
    for function in connection.recv():
        try:
            result = function()
            connection.send((True, result, ()) if isinstance(result, str) else (True, *result))
        except Exception as error:
            connection.send((False, str(error) if isinstance(error, InputError) else first_line(error), ()))
    os._exit(0)  # exit handlers of modules are not part of a check


def _environment() -> dict[str, str]:
    """The parent's modules; one thread; no rank, so that a check waits for no other; no CUDA cache in the home."""
    environment = {name: value for name, value in os.environ.items() if name not in _RANKS}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_CACHE_DISABLE": "1"}


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
