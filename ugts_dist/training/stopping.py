"""Stopping between two steps: signals, a launcher that has died, and how the ranks agree on it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import torch

from ugts_dist.training.launcher import Launcher
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.roll_call import is_of_collective

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_SECONDS_BETWEEN = 1.0
_SAVING = b"\nugts: the run is saved after this step, and ends; Ctrl-C again ends it at once\n"


class StopRequest:
    """Whether this process has been asked to stop: by a signal, or by the death of the launcher that started it."""

    def __init__(self, launcher: Launcher | None = None) -> None:
        self._signal = 0
        self._launcher = Launcher() if launcher is None else launcher

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While it lasts, SIGTERM, SIGUSR1 and SIGINT are only remembered. Without effect outside the main thread.

        Ctrl-C for the second time ends a process that has no launcher at once; a launcher repeats it by itself. Where
        SIGINT is ignored, as shells have it in the background, it stays so.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        listened = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._remember) for number in listened}
        try:
            yield
        except RuntimeError as error:
            if is_of_collective(error):  # the launcher ends all ranks once it has lost one; the others name it first
                before[signal.SIGTERM] = signal.SIG_IGN
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def number(self) -> int:
        """The signal, or 0; a launcher's death counts as SIGTERM."""
        if self._launcher.is_gone:
            return signal.SIGTERM
        return self._signal

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and not self._launcher.is_known:
            if self._signal == signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, _SAVING)  # print may have been interrupted just now, and can't be entered twice
        self._signal = number


class Agreed(NamedTuple):
    """What the ranks have agreed on: the signal to stop for, or 0, and whether to save."""

    stop: int
    save: bool


class Lookout:
    """Where the ranks agree whether to stop or to save: at the same steps on each, about a second apart.

    A signal reaches the ranks at different times, and clocks differ; what one rank alone decided would leave the
    others waiting in a collective. The exchange is a few numbers on the CPU: no GPU is waited for.
    """

    def __init__(self, request: StopRequest, ranks: Ranks) -> None:
        self._request, self._ranks = request, ranks
        self._next = 0
        self._last_step: int | None = None  # a run that goes on has done steps that nobody looked at here
        self._last_time = time.monotonic()

    def is_due(self, step: int) -> bool:
        """The same on every rank."""
        return step >= self._next

    def look(self, step: int, steps_per_epoch: int, save: bool) -> Agreed:
        """Ask all ranks; `save` is the main one's wish."""
        if self._ranks.world_size == 1:
            return Agreed(self._request.number, save)
        mine = [self._request.number, int(save), self._interval(step)] if self._ranks.is_main else []
        agreed = torch.tensor(mine or [self._request.number, 0, 0])
        stop, wanted, interval = self._ranks.most(agreed).tolist()
        self._next = step + interval
        if interval < steps_per_epoch:
            # An epoch takes seconds, its evaluation perhaps minutes: look before that begins.
            self._next = min(self._next, (step // steps_per_epoch + 1) * steps_per_epoch)
        return Agreed(int(stop), bool(wanted))

    def _interval(self, step: int) -> int:
        """Steps of about a second, by those since the last look, and at most twice as many as these."""
        now, done = time.monotonic(), 1 if self._last_step is None else step - self._last_step
        wanted = round(done * _SECONDS_BETWEEN / max(now - self._last_time, 1e-9))
        self._last_step, self._last_time = step, now
        return min(max(1, wanted), 2 * max(1, done))
