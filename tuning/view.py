"""The live view of a search: on a terminal, bars for the whole search and each running trial; in a log, lines from time
to time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from tuning.plan import Trial
from tuning.status import Status
from ugts_dist.console import errors
from ugts_dist.metrics import Metric
from ugts_dist.terminal import escaped

_log = logging.getLogger("ugts_dist.tuning")

_WIDE = 120  # columns of a terminal with room for long notes
_TIMES = 18  # columns of elapsed time and time left, with a gap


class View:
    """Shows the progress of a search on standard error."""

    def __init__(
        self,
        name: str,
        console: Console | None = None,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every`: least number of seconds between two lines of a log."""
        console = errors() if console is None else console
        self._name, self._every, self._clock = name, every, clock
        self._status = Status()
        self._next = clock()
        self._is_log = not console.is_terminal
        self._is_wide = console.width >= _WIDE
        bar, notes = (24, 42) if self._is_wide else (8, 30)
        label = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - bar - notes - _TIMES - 4))
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=label),
            BarColumn(bar_width=bar),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=self._is_log,
            refresh_per_second=4,
        )
        self._whole = self._progress.add_task(escaped(name), total=0, note="")
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray pickles all objects that refer to trials, but never reads them again."""
        return {}

    def stage(self, title: str, trials: Iterable[Trial], over: Mapping[str, str]) -> None:
        """Begin a stage, with the states of trials that are over. The time left is that of this stage."""
        self._status.stage(f"{self._name}, {title}", trials, over, self._clock())
        self._progress.reset(self._whole, description=escaped(self._status.title))
        self._next = self._clock()
        self._show_whole()

    def finished(self, trial: Trial, valid: float, sparsity: float, metric: Metric) -> None:
        """Show a finished trial."""
        if not trial.dense:
            self._status.finished(valid, sparsity, metric)

    def row(self, trial: Trial) -> None:
        """Show a trial that begins, or begins again."""
        self._status.epochs[trial.key] = trial.config.run.epochs
        self._status.change(trial.key, "running")
        if trial.key not in self._rows:
            label = escaped("  " + trial.label)
            self._rows[trial.key] = self._progress.add_task(label, total=trial.config.run.epochs, note="")
        self._show_whole()

    def epoch(self, key: str, metrics: dict[str, Any]) -> None:
        """Show an evaluated epoch of a trial."""
        self._status.done[key] = metrics["epoch"] + 1
        if key in self._rows:
            metric = "validation" if self._is_wide else "valid"
            text = f"sparsity {metrics['sparsity']:.3f}  {metric} {metrics['valid']:.3f}"
            self._progress.update(self._rows[key], completed=metrics["epoch"] + 1, note=text)
        self._show_whole()

    def end(self, key: str, state: str) -> None:
        """Show that a trial is over."""
        self._status.change(key, state)
        if key in self._rows:
            self._progress.remove_task(self._rows.pop(key))
        self._show_whole()

    def _show_whole(self) -> None:
        status, now = self._status, self._clock()
        if self._is_log and now >= self._next:
            self._next = now + self._every
            _log.info(status.line(now))
        total, done = sum(status.epochs.values()), sum(status.done.values())
        self._progress.update(self._whole, total=total, completed=done, note=self._counts())

    def _counts(self) -> str:
        """As many counts as there is room for."""
        best = self._status.best
        return (
            self._status.counts if best is None or not self._is_wide else f"{self._status.counts}, best {best[0]:.3f}"
        )
