"""A logger in a thread: neither a slow nor a failing one delays or ends the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from queue import SimpleQueue
from threading import Thread

from ugts_dist.errors import first_line
from ugts_dist.loggers.base import LoggedRun, Logger

_log = logging.getLogger(__name__)

OPEN_SECONDS = 60.0  # less than the time that other ranks wait for the main rank


class Background:
    """Passes calls on to a logger, in their order. The first error is shown as a warning; the later ones are not."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name, self._logger = name, logger
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._has_warned = False

    def open(self, run: LoggedRun, known: str, seconds: float = OPEN_SECONDS) -> str:
        """As `Logger.open`. Raises its error, and TimeoutError if it takes longer than this."""
        opened: Future[str] = Future()
        self._thread = Thread(target=self._work, args=(run, known, opened), name=f"log to {self._name}", daemon=True)
        self._thread.start()
        has_answered = False
        try:
            has_answered = bool(wait([opened], seconds).done)
        finally:  # Ctrl-C, too, leaves no logger open that answers late
            if not has_answered:
                self.end(finished=False)
        if not has_answered:
            raise TimeoutError(f"no answer in {seconds:g} s")
        return opened.result()

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluated epoch, later."""
        self._calls.put(partial(self._logger.epoch, number, dict(metrics)))

    def result(self, values: Mapping[str, float]) -> None:
        """Log the result, later."""
        self._calls.put(partial(self._logger.result, dict(values)))

    def end(self, finished: bool) -> None:
        """End the logger after all calls before, later."""
        self._calls.put(partial(self._logger.close, finished))
        self._calls.put(None)

    def join(self, seconds: float) -> bool:
        """Whether the logger has ended, for which this waits so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self, run: LoggedRun, known: str, opened: Future[str]) -> None:
        try:
            opened.set_result(self._logger.open(run, known))
        except Exception as error:
            opened.set_exception(error)
            return  # a logger that is not open is not closed
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self.warn(first_line(error))

    def warn(self, reason: str) -> None:
        """Show the reason why something may not be logged, if it is the first one."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning(f"log.to {self._name}: {reason}; the run goes on, its log there may have gaps")
