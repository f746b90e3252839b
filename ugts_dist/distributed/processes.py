"""Child processes: protected from signals to the process group; and the ports on which they listen."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_LISTENS = "0A"  # TCP_LISTEN in the kernel's tables


@contextmanager
def apart() -> Iterator[None]:
    """Within the block, give every process that `subprocess` starts its own session, in which SIGTERM is not blocked.

    `timeout` and Ctrl-C signal a whole process group, but this process decides what happens to its children. Blocked
    signals would be inherited, so that children would not end when asked to.
    """
    start: Callable[..., None] = subprocess.Popen.__init__

    def start_apart(
        process: subprocess.Popen[Any], *args: Any, preexec_fn: Callable[[], Any] | None = None, **options: Any
    ) -> None:
        def prepare() -> None:
            if preexec_fn is not None:
                preexec_fn()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

        start(process, *args, preexec_fn=prepare, **(options | {"start_new_session": True}))

    subprocess.Popen.__init__ = start_apart  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        subprocess.Popen.__init__ = start  # type: ignore[method-assign]


def listening() -> dict[str, list[int]]:
    """The TCP ports on which this process and its descendants listen, by address. Empty on a system without /proc."""
    sockets = {link for process in _family() for link in _open_files(process)}
    found: dict[str, set[int]] = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in sockets:
                    address, _, port = fields[1].partition(":")
                    found.setdefault(_address(address), set()).add(int(port, 16))
    return {address: sorted(ports) for address, ports in sorted(found.items())}


def _family() -> set[int]:
    """This process and its descendants."""
    parents: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it has ended
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _open_files(process: int) -> set[str]:
    links = set()
    with contextlib.suppress(OSError):
        for link in (_PROC / str(process) / "fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed
                links.add(os.readlink(link))
    return links


def _address(words: str) -> str:
    """Parse an address of the kernel's table: words of 32 bits, each in the machine's byte order."""
    numbers = [int(words[i : i + 8], 16) for i in range(0, len(words), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(numbers)}I", *numbers))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
