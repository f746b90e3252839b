"""A control group that limits the memory of one command, copies of files included. Linux, as root."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def forget(folder: Path) -> None:
    """Remove the files of a folder from the page cache: pages that another group read are not counted."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def run_limited(command: Sequence[str], limit: int, environment: Mapping[str, str], seconds: float) -> str:
    """Run a command within a limit of bytes, or without one if it is 0. Returns what went wrong; empty: nothing."""
    with _group(limit) as enter:
        try:
            done = subprocess.run(
                command, env=environment, preexec_fn=enter, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done in {seconds:.0f} s"
    killed = done.returncode < 0 or "exitcode  : -9" in done.stderr or "Signal 9" in done.stderr
    return "" if not done.returncode else "killed: out of memory" if killed else done.stderr[-2000:]


@contextmanager
def _group(limit: int) -> Iterator[Callable[[], None] | None]:
    if not limit:
        yield None
        return
    version_1 = (_ROOT / "memory").is_dir()
    group = (_ROOT / "memory" if version_1 else _ROOT) / f"limit-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
        yield partial(_enter, group / "cgroup.procs")
    finally:
        _end(group)


def _enter(processes: Path) -> None:
    processes.write_text(str(os.getpid()))


def _end(group: Path) -> None:
    """Kill what is left in a group, and remove it."""
    for _ in range(100):
        for process in (group / "cgroup.procs").read_text().split():
            os.kill(int(process), 9)
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)
