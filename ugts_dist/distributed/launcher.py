"""The launcher that started this process, such as torchrun. It can die before its ranks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHECK_SECONDS = 0.5


class Launcher:
    """The parent process, if it is torchrun. When it dies, its ranks get another parent."""

    def __init__(self) -> None:
        self._process = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else 0

    @property
    def is_known(self) -> bool:
        """Whether a launcher started this process."""
        return bool(self._process)

    @property
    def is_gone(self) -> bool:
        """Whether a launcher started this process and has died since."""
        return self.is_known and os.getppid() != self._process


@contextmanager
def ends_with_launcher(launcher: Launcher) -> Iterator[None]:
    """End this process if the launcher dies within the block; it would wait minutes for other ranks."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_CHECK_SECONDS):
            if launcher.is_gone:
                os._exit(1)

    thread = threading.Thread(target=watch, name="launcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
