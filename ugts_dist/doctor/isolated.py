"""Each probe in a process of its own, so that one that hangs or crashes is told like any other answer.

Importing torch takes seconds, so it is done once, in a process that then forks one more for each probe.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, BinaryIO

TIMEOUT_SECONDS = 60.0
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Answer:
    """What a probe returned, or the one line that says why it did not.

    Attributes:
        value: as JSON carries it; None where there is a problem.
        problem: empty where the probe returned.
    """

    value: Any
    problem: str
    seconds: float


class Probes:
    """Runs probes; a context manager.

    Args:
        preload: modules that the forking process imports; `imported` is the answer to that, and where it has a
            problem, every probe has the same.
        timeout: seconds that the import and each probe may take.
    """

    def __init__(self, preload: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *preload],
            cwd=self._folder.name,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.imported = self._receive(timeout)

    def __enter__(self) -> Probes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _kill(self._process.pid)
        self._process.communicate()
        self._folder.cleanup()

    def ask(self, probe: str, *args: Any) -> Answer:
        """Call "module:function" with `args` in a new process; arguments and result travel as JSON.

        Raises nothing for what happens there: an exception, a signal and a timeout become the answer's `problem`.
        """
        if self.imported.problem:
            return self.imported
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # how it ended is told below
            self._process.stdin.write(json.dumps([probe, args, self._timeout]).encode() + b"\n")
            self._process.stdin.flush()
        return self._receive(2 * self._timeout)  # the forking process itself keeps to the timeout

    def _receive(self, timeout: float) -> Answer:
        assert self._process.stdout is not None
        started = time.monotonic()
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else b""
        if line:
            return Answer(**json.loads(line))
        if not ready:
            return Answer(None, f"no answer within {timeout:g} s", time.monotonic() - started)
        return Answer(None, ended(self._process.wait()), time.monotonic() - started)


def ended(code: int) -> str:
    """How a process ended, from its exit code or the negative number of the signal."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def first_line(error: BaseException) -> str:
    """Kind of the error and the first line of its message."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> None:
    """The forking process: import, then a line of JSON in and a line out for each probe."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # what a module or a probe prints is no reply
    _reply(replies, _called(_import, sys.argv[1:]))
    for line in requests:
        probe, args, timeout = json.loads(line)
        _reply(replies, _forked(probe, args, timeout))


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _called(function: Any, *args: Any) -> Answer:
    from ugts_dist.errors import InputError

    started = time.monotonic()
    try:
        value, problem = function(*args), ""
    except InputError as error:
        value, problem = None, str(error)
    except Exception as error:
        value, problem = None, first_line(error)
    return Answer(value, problem, time.monotonic() - started)


def _forked(probe: str, args: Sequence[Any], timeout: float) -> Answer:
    """Fork, call, and wait for the answer; kill what takes too long, with all that it started."""
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reading)
        module, function = probe.split(":")
        answer = _called(lambda: getattr(importlib.import_module(module), function)(*args))
        with os.fdopen(writing, "wb") as replies:
            _reply(replies, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as replies:
        ready, _, _ = select.select([replies], [], [], timeout)
        line = replies.readline() if ready else b""
    _kill(child)
    _, status = os.waitpid(child, 0)
    if line:
        return Answer(**json.loads(line))
    problem = ended(os.waitstatus_to_exitcode(status)) if ready else f"no answer within {timeout:g} s"
    return Answer(None, problem, time.monotonic() - started)


def _reply(stream: BinaryIO, answer: Answer) -> None:
    stream.write(json.dumps(asdict(answer)).encode() + b"\n")
    stream.flush()


def _environment() -> dict[str, str]:
    """The parent's modules, one thread, no rank, as a probe waits for nobody, and no cache of CUDA's in the home."""
    environment = {name: value for name, value in os.environ.items() if name not in _RANKS}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_CACHE_DISABLE": "1"}


def _kill(session: int) -> None:
    """Kill every process of a session, also where its first process has not come to make it; some may have ended."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(session, signal.SIGKILL)


if __name__ == "__main__":
    main()
