"""Child processes: protected from signals to the process group; and the ports on which they listen."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil


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
    """The TCP ports on which this process and its descendants listen, by address, if the system shows them."""
    by_address: dict[str, set[int]] = {}
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended since
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address = ipaddress.ip_address(connection.laddr.ip)
                    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
                    by_address.setdefault(str(mapped or address), set()).add(connection.laddr.port)
    return {address: sorted(ports) for address, ports in sorted(by_address.items())}
