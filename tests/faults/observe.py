"""A run seen from outside: its processes, and the files in its folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.result_file import read_result

BOUND = 60.0
"""Seconds after which whatever should have ended counts as hanging."""


def processes(chosen: Callable[[int], bool]) -> list[int]:
    """The processes that are chosen and have not ended."""
    listed = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if state(int(entry)) not in "ZX" and chosen(int(entry)):
                listed.append(int(entry))
        except OSError:  # it has ended since
            continue
    return listed


def session(leader: int) -> list[int]:
    """The processes of a session."""
    return processes(lambda pid: int(_status(pid)[3]) == leader)


def marked(variable: str) -> list[int]:
    """The processes that were started with this in their environment, `NAME=VALUE`."""
    return processes(lambda pid: variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


def state(pid: int) -> str:
    """R, S, T, Z ...; X if it is gone."""
    try:
        return _status(pid)[0]
    except OSError:
        return "X"


def _status(pid: int) -> list[str]:
    """The fields of its state, parent, group, session ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def kill(pid: int, number: signal.Signals) -> bool:
    """Send a signal. Returns whether the process existed."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool], bound: float = BOUND, pause: float = 0.001) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + bound
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


# What a run leaves


@dataclass(frozen=True)
class Outcome:
    """The parts of a finished run's folder that must not depend on interruptions."""

    name: str
    state: dict[str, Any]
    tensors: dict[str, bytes]
    best: bytes
    metrics: bytes
    result: dict[str, Any]

    def differs(self, other: Outcome) -> list[str]:
        """The differences, bit for bit."""
        return [name for name in vars(self) if getattr(self, name) != getattr(other, name)]


def outcome(folder: Path) -> Outcome:
    """Read a finished run. Raises ValueError if its newest checkpoint is damaged, or if temporary files are left."""
    left = left_over(folder)
    newest, problems = checkpoint.newest(folder)
    if left or problems or newest is None:
        raise ValueError(f"{folder}: left over: {left}; damaged: {problems}")
    result = read_result(folder)
    del result["seconds"]
    result["path"] = Path(result["path"]).name
    state = newest.to_json()
    for own in ("seconds", "config", "is_best"):
        del state[own]
    return Outcome(
        newest.name,
        state,
        {f"{kind}/{name}": _bytes(value) for kind, group in newest.tensors.items() for name, value in group.items()},
        (folder / result["path"]).read_bytes(),
        (folder / "metrics.jsonl").read_bytes(),
        result,
    )


def left_over(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != ".lock"]


def _bytes(value: Tensor) -> bytes:
    return value.reshape(-1).view(torch.uint8).numpy().tobytes()
