"""Memory that this process may still use, by the machine and by its cgroups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

NO_LIMIT = 1 << 60  # bytes; what version 1 of cgroups says instead of "max" is above


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that are free, or hold copies of files that can make room."""
    free = int(psutil.virtual_memory().available)
    for limit, used in cgroup_memory(root):
        free = min(free, max(0, limit - used))
    return free


def cgroup_memory(root: Path = Path("/")) -> Iterator[tuple[int, int]]:
    """Limit of each cgroup of this process that has one, and the bytes in it that are no copies of files."""
    for folder in cgroups(root, "memory"):
        limit = _number(r"(\d+)", folder, "memory.max", "memory.limit_in_bytes")
        if limit is not None and limit < NO_LIMIT:
            yield limit, _number(r"^(?:anon|total_rss) (\d+)", folder, "memory.stat") or 0


def cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the cgroup of this process and of each of its parents, in both versions of cgroups.

    A container sees its own cgroup as the root.
    """
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)  # version 2 names no controller
        if not controllers or controller in controllers.split(","):
            mounted = root / "sys/fs/cgroup" / (controller if controllers else "")
            own = Path(path.lstrip("/"))
            yield from (mounted / folder for folder in (own, *own.parents))


def text_of(path: Path) -> str:
    """The text of a file; empty if it can't be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(pattern: str, folder: Path, *files: str) -> int | None:
    """The first match in the files of a folder, if any."""
    match = re.search(pattern, "".join(text_of(folder / file) for file in files), re.MULTILINE)
    return int(match[1]) if match else None
