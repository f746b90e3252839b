"""Which ranks are missing after a failed collective: every rank that still runs reports, the others are named."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from ugts_dist.distributed.rendezvous import Store

_WAIT_SECONDS = 3.0  # for the other ranks to fail too


def is_of_collective(error: RuntimeError) -> bool:
    """Whether a collective failed, as it does on every rank when one of them dies or does not answer."""
    return isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl"))


class MissingRanks:
    """Reports of the ranks in the rendezvous store, which outlives all ranks if the launcher hosts it."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        store.set(f"who/{rank}", f"rank {rank} (process {os.getpid()} on {socket.gethostname()})")

    def describe(self, timeout: float) -> str:
        """One line with the ranks that do not report; `timeout` is that of the collectives, in seconds."""
        try:
            with _without_sigterm():
                self._store.set(f"here/{self._rank}", "yes")
                names = self._absent()
        except (RuntimeError, ValueError):
            return "a collective failed, and the launcher that knows the other ranks is gone"
        if not names:
            return "a collective failed on every rank, but all of them answer: the network between them failed"
        return f"{', '.join(names)} died, or did not answer for {timeout:g} s"

    def _absent(self) -> list[str]:
        absent = list(range(self._world_size))
        deadline = time.monotonic() + _WAIT_SECONDS
        while absent and time.monotonic() < deadline:
            absent = [rank for rank in absent if not self._store.check([f"here/{rank}"])]
            time.sleep(0.05)
        return [self._who(rank) for rank in absent]

    def _who(self, rank: int) -> str:
        known = self._store.check([f"who/{rank}"])
        return self._store.get(f"who/{rank}").decode() if known else f"rank {rank} (which never came)"


@contextmanager
def _without_sigterm() -> Iterator[None]:
    """Ignore SIGTERM. A launcher that has lost a rank sends it to all others before they have named that rank."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
