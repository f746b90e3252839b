"""Stopping between two steps: signals, a dead launcher, and how the ranks agree on the step."""

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

from ugts_dist.distributed.launcher import Launcher
from ugts_dist.distributed.missing_ranks import is_of_collective
from ugts_dist.distributed.ranks import Ranks

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_SECONDS_BETWEEN = 1.0
_SAVING = b"\nugts: the run is saved after this step, and ends; Ctrl-C again ends it at once\n"


class StopRequest:
    """Whether this process has to stop: because of a signal, or because its launcher died."""

    def __init__(self, launcher: Launcher | None = None) -> None:
        self._signal = 0
        self._launcher = Launcher() if launcher is None else launcher

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, only record SIGTERM, SIGUSR1 and SIGINT. No effect outside the main thread.

        Without a launcher, a second Ctrl-C ends the process at once; a launcher repeats the first one by itself. An
        ignored SIGINT, as in the background of a shell, stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        listened = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._record) for number in listened}
        try:
            yield
        except RuntimeError as error:
            if is_of_collective(error):  # the launcher ends all ranks after it has lost one; the others name it first
                before[signal.SIGTERM] = signal.SIG_IGN
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def number(self) -> int:
        """The signal, or 0. The death of the launcher counts as SIGTERM."""
        if self._launcher.is_gone:
            return signal.SIGTERM
        return self._signal

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and not self._launcher.is_known:
            if self._signal == signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, _SAVING)  # the signal may have interrupted print, which is not reentrant
        self._signal = number


class Decision(NamedTuple):
    """What the ranks have agreed on: the signal to stop for, or 0, and whether to save."""

    stop: int
    save: bool


class StopAgreement:
    """Collective decisions to stop or to save: at the same steps on every rank, about a second apart.

    A signal reaches the ranks at different times, and clocks differ. A rank that decided alone would leave the others
    waiting in a collective. The exchange is a few numbers on the CPU and waits for no GPU.
    """

    def __init__(self, request: StopRequest, ranks: Ranks) -> None:
        self._request, self._ranks = request, ranks
        self._next = 0
        self._last_step: int | None = None  # steps before a resume have no times
        self._last_time = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether the ranks decide at this step; the same on every rank."""
        return step >= self._next

    def decide(self, step: int, steps_per_epoch: int, save: bool) -> Decision:
        """The decision of all ranks. `save` counts on the main rank only. Collective."""
        if self._ranks.world_size == 1:
            return Decision(self._request.number, save)
        mine = [self._request.number, int(save), self._interval(step)] if self._ranks.is_main else []
        agreed = torch.tensor(mine or [self._request.number, 0, 0])
        stop, wanted, interval = self._ranks.all_reduce_max(agreed).tolist()
        self._next = step + interval
        if interval < steps_per_epoch:
            # Decide before the evaluation at the end of an epoch, which may take minutes.
            self._next = min(self._next, (step // steps_per_epoch + 1) * steps_per_epoch)
        return Decision(int(stop), bool(wanted))

    def _interval(self, step: int) -> int:
        """Number of steps in about a second, from the time since the last decision, at most twice the steps since."""
        now, done = time.monotonic(), 1 if self._last_step is None else step - self._last_step
        wanted = round(done * _SECONDS_BETWEEN / max(now - self._last_time, 1e-9))
        self._last_step, self._last_time = step, now
        return min(max(1, wanted), 2 * max(1, done))
