"""A search that is asked to stop ends, between two of Ray Tune's steps, with one line that tells how it goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ugts_dist.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """SIGINT and SIGTERM wait until `Interrupt.listening`, or the end of the block.

    For the time in which Ray starts: its handlers would end the process in the midst of that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupt:
    """Whether a search has been asked to stop.

    Signals are only remembered: an exception that a handler raises comes up wherever the process happens to be, and Ray
    takes it for an error of its own where that is within the reading of a trial's result.
    """

    def __init__(self, command: str) -> None:
        self._command = command  # that goes on
        self._number = 0

    def look(self) -> None:
        """Raises StoppedError, which names the command that goes on, once a signal has come."""
        if self._number:
            raise StoppedError(f"stopped by {signal.Signals(self._number).name}; `{self._command}` goes on")

    @contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """While it lasts, SIGINT and SIGTERM are remembered, also those that have been held.

        To be entered once Ray is there: its own handlers print the stacks of every thread. Further signals change
        nothing, also after the block, so that Ray is left in order.
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
