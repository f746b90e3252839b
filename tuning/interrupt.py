"""Stopping a search between two of Ray Tune's steps, with one line that has the command to resume it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ugts_dist.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """Block SIGINT and SIGTERM until `Interrupt.listening`, or until the end of the block.

    This is for the start of Ray, whose handlers would end the process in the middle of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupt:
    """Whether a search was asked to stop.

    Signals are only recorded: an exception of a handler would be raised anywhere in the process, and Ray would take it
    for its own error while it reads a trial's result.
    """

    def __init__(self, command: str) -> None:
        self._command = command  # resumes the search
        self._number = 0

    def look(self) -> None:
        """Raise StoppedError, with the command that resumes the search, after a signal."""
        if self._number:
            raise StoppedError(f"stopped by {signal.Signals(self._number).name}; to resume: {self._command}")

    @contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Within the block, record SIGINT and SIGTERM, including blocked ones.

        Enter it after Ray has started, since Ray's handlers print the stacks of all threads. Further signals have no
        effect, even after the block, so that Ray can shut down.
        """
        before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            yield self
        finally:
            for number, handler in before.items():
                if signal.getsignal(number) == self._remember:
                    signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self._number = number
