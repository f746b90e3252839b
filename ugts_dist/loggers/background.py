"""A logger in a thread: neither a slow nor a failing one delays or ends the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Thread

from ugts_dist.errors import first_line
from ugts_dist.loggers.base import LoggedRun, Logger

_log = logging.getLogger(__name__)

OPEN_SECONDS = 60.0  # less than the time that other ranks wait for the main rank
CLOSE_SECONDS = 60.0


class Background:
    """Passes calls on to a logger, in their order. The first error is shown as a warning; the later ones are not."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name, self._logger = name, logger
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"log to {name}", daemon=True)
        self._has_warned = False

    def open(self, run: LoggedRun, known: str, seconds: float = OPEN_SECONDS) -> str:
        """As `Logger.open`. Raises its error, and TimeoutError if it takes longer than this."""
        opened: Future[str] = Future()
        self._calls.put(partial(self._open, run, known, opened))
        self._thread.start()
        try:
            return opened.result(seconds)
        except TimeoutError:
            self._end(finished=False)
            raise TimeoutError(f"no answer in {seconds:g} s") from None

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluated epoch, later."""
        self._calls.put(partial(self._logger.epoch, number, dict(metrics)))

    def result(self, values: Mapping[str, float]) -> None:
        """Log the result, later."""
        self._calls.put(partial(self._logger.result, dict(values)))

    def close(self, finished: bool, seconds: float = CLOSE_SECONDS) -> None:
        """End the logger after all calls before, but don't wait longer than this."""
        self._end(finished)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn(f"not everything is logged after {seconds:g} s")

    def _end(self, finished: bool) -> None:
        self._calls.put(partial(self._logger.close, finished))
        self._calls.put(None)

    def _open(self, run: LoggedRun, known: str, opened: Future[str]) -> None:
        try:
            opened.set_result(self._logger.open(run, known))
        except Exception as error:
            opened.set_exception(error)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self._warn(first_line(error))

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(f"log.to {self._name}: {reason}; the run goes on, its log there may have gaps")
