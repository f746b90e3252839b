"""A search that is asked to stop ends with one line that tells how it goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ugts_dist.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_by_signals(command: str) -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM raise StoppedError, which names the command that goes on.

    To be entered once Ray is there: its own handlers print the stacks of every thread. Further signals change
    nothing, also after the block, so that Ray is left in order.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedError(f"stopped by {signal.Signals(number).name}; `{command}` goes on")

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
