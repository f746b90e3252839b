"""Who is missing, once a collective has failed: every rank that is left calls out, and those that don't are named."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch.distributed as dist

_WAIT = 3.0  # seconds for the other ranks to fail too


def is_of_collective(error: RuntimeError) -> bool:
    """Whether a collective failed, as it does on every rank when one of them dies or does not answer."""
    return isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl"))


@contextmanager
def _without_sigterm() -> Iterator[None]:
    """The launcher ends all ranks as soon as it has lost one; not before they have named it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Store(Protocol):
    """What is used of torch's stores."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


class RollCall:
    """Notes in the store that the ranks met by, which outlives any of them where the launcher keeps it."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        store.set(f"who/{rank}", f"rank {rank} (process {os.getpid()} on {socket.gethostname()})")

    def missing(self, timeout: float) -> str:
        """Which ranks do not call out, in a line; `timeout` is that of the collectives."""
        try:
            with _without_sigterm():
                self._store.set(f"here/{self._rank}", "yes")
                names = self._absent()
        except (RuntimeError, ValueError):
            return "a collective failed, and the launcher that knows the other ranks is gone"
        if not names:
            return "a collective failed on every rank, though all of them answer: the network between them broke"
        return f"{', '.join(names)} died, or did not answer for {timeout:g} s"

    def _absent(self) -> list[str]:
        absent = list(range(self._world_size))
        deadline = time.monotonic() + _WAIT
        while absent and time.monotonic() < deadline:
            absent = [rank for rank in absent if not self._store.check([f"here/{rank}"])]
            time.sleep(0.05)
        return [self._who(rank) for rank in absent]

    def _who(self, rank: int) -> str:
        known = self._store.check([f"who/{rank}"])
        return self._store.get(f"who/{rank}").decode() if known else f"rank {rank} (which never came)"
