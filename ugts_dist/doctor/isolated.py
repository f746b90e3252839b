"""Each probe in a process of its own, so that one that hangs or crashes is told like any other answer."""

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
    """What a probe returned, or the one line that says why it did not.

    Attributes:
        value: as JSON carries it; None where there is a problem.
        problem: empty where the probe returned.
    """

    value: Any
    problem: str
    seconds: float


def ask(probe: str, *args: Any, timeout: float = TIMEOUT_SECONDS) -> Answer:
    """Call "module:function" with `args` in a new process; arguments and result travel as JSON.

    Raises nothing for what happens there: an exception, a signal and a timeout become the answer's `problem`.
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
    """The probe's process: one line of JSON, the value and the problem."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a module or a probe prints is no reply
    json.dump(_called(sys.argv[1], json.loads(sys.argv[2])), replies)
    replies.close()
    os._exit(0)  # what some modules do at the end of a process is no part of the probe


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
    """The parent's modules, one thread, no rank, as a probe waits for nobody, and no cache of CUDA's in the home."""
    environment = {name: value for name, value in os.environ.items() if name not in _RANKS}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_CACHE_DISABLE": "1"}


if __name__ == "__main__":
    main()
