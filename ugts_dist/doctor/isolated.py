"""Runs each probe in a separate process, so that one that hangs or crashes is reported like any other result."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from ugts_dist.errors import InputError, first_line

TIMEOUT_SECONDS = 60.0
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Answer:
    """The return value of a probe, or the problem in one line.

    Attributes:
        value: a JSON value; None if there is a problem.
        problem: empty if the probe returned.
    """

    value: Any
    problem: str
    seconds: float


def ask(probe: str, *args: Any, timeout: float = TIMEOUT_SECONDS) -> Answer:
    """Call "module:function" with `args` in a new process; arguments and result are passed as JSON.

    Failures there raise nothing: an exception, a signal or a timeout becomes the answer's `problem`.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, probe, json.dumps(args)],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            reply, _ = process.communicate(timeout=timeout)
            value, problem = json.loads(reply) if reply else (None, _ended(process.returncode))
        except subprocess.TimeoutExpired:
            value, problem = None, f"no answer within {timeout:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of them have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Answer(value, problem, time.monotonic() - started)


def main() -> None:
    """The probe's process: prints one line of JSON with the value and the problem."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a module or a probe prints is not part of the answer
    json.dump(_called(sys.argv[1], json.loads(sys.argv[2])), replies)
    replies.close()
    os._exit(0)  # exit handlers of modules are not part of the probe


def _called(probe: str, args: list[Any]) -> tuple[Any, str]:
    module, function = probe.split(":")
    try:
        return getattr(importlib.import_module(module), function)(*args), ""
    except InputError as error:
        return None, str(error)
    except Exception as error:
        return None, first_line(error)


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _environment() -> dict[str, str]:
    """The parent's modules; one thread; no rank, so that a probe waits for no other; no CUDA cache in the home."""
    environment = {name: value for name, value in os.environ.items() if name not in _RANKS}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_CACHE_DISABLE": "1"}


if __name__ == "__main__":
    main()
