"""The launcher that started this process, where there is one: it may die before its ranks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.5  # between two looks


class Launcher:
    """torchrun, whose death leaves its ranks to another parent."""

    def __init__(self) -> None:
        self._process = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else 0

    @property
    def is_known(self) -> bool:
        """Whether there was one when this process began."""
        return bool(self._process)

    @property
    def is_gone(self) -> bool:
        """Whether there was one and it has died."""
        return self.is_known and os.getppid() != self._process


@contextmanager
def ends_with_launcher(launcher: Launcher) -> Iterator[None]:
    """While it lasts, the launcher's death ends this process: a rank that waits for others would wait for minutes."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SECONDS):
            if launcher.is_gone:
                os._exit(1)

    thread = threading.Thread(target=watch, name="launcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
