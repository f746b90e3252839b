"""Progress of training on standard error: a bar on a terminal or in a notebook, lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from ugts_dist.config_sections import LogConfig
from ugts_dist.console import errors
from ugts_dist.terminal import escaped

_log = logging.getLogger(__name__)

_FIRST_LINE = 10.0  # seconds until the first line, even if no epoch has been evaluated
_TIME_WIDTH = 9  # columns of the time left, up to 999 hours
_WIDE = 110  # columns of a terminal from which the bar is wider
_NOTEBOOK_SECONDS = 0.25  # least time between two pictures of a bar that are sent to a browser


def display_for(config: LogConfig, label: str, metric: str, epochs: int, first: int, is_main: bool) -> Display:
    """The display that fits where standard error leads; one that shows nothing on other ranks than the main one."""
    if not (is_main and config.progress):
        return Display()
    console = errors()
    if console.is_jupyter:
        return NotebookBar(label, metric, epochs, first, console)
    if console.is_terminal:
        return Bar(label, metric, epochs, first, console)
    return Lines(metric, epochs, first, config.every_seconds)


class Display:
    """Shows the progress of training while it is entered. The base class shows nothing."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, before the first epoch."""

    def stop(self) -> None:
        """End, after the last epoch or an error."""

    def show(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """Show the number of finished epochs, which may have a fraction; `metrics` if the last one was evaluated."""


class Bar(Display):
    """A bar on a terminal. A narrow one shortens or omits the metrics, but always shows epochs and time left."""

    def __init__(self, label: str, metric: str, epochs: int, first: int, console: Console) -> None:
        self._label, self._metric, self._epochs, self._console = escaped(label), metric, epochs, console
        self._bar_width = 30 if console.width >= _WIDE else 10
        self._progress = rich.progress.Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=self._bar_width),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(self._label, total=epochs, completed=first, note="")

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def show(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)
        if metrics is not None:
            counts = 2 * len(str(self._epochs)) + 1
            taken = len(self._label) + self._bar_width + counts + _TIME_WIDTH + 4  # with the gaps between columns
            self._progress.update(self._task, note=self._note(metrics, self._console.width - taken))

    def _note(self, metrics: Mapping[str, float], room: int) -> str:
        """As many metrics as there is room for."""
        sparsity, loss = f"sparsity {metrics['sparsity']:.3f}", f"loss {metrics['loss']:.3f}"
        full, short = (f"{name} {metrics['valid']:.3f}" for name in (f"validation {self._metric}", "valid"))
        notes = ((sparsity, loss, full), (sparsity, loss, short), (sparsity, short), (short,))
        return next((text for text in map("  ".join, notes) if len(text) <= room), "")


class NotebookBar(Bar):
    """A bar in the output of a notebook's cell. It is one output that changes, and needs no widgets."""

    def start(self) -> None:
        from IPython.display import display

        self._next = time.monotonic() + _NOTEBOOK_SECONDS
        self._output: Any = display(self._progress, display_id=True)

    def stop(self) -> None:
        self._output.update(self._progress)

    def show(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """Move the bar; the browser gets few pictures a second."""
        super().show(done, metrics)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _NOTEBOOK_SECONDS
            self._output.update(self._progress)


class Lines(Display):
    """A log line at each evaluated epoch, but not sooner than `every` seconds after the last one."""

    def __init__(
        self, metric: str, epochs: int, first: int, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metric, self._epochs, self._first, self._every, self._clock = metric, epochs, first, every, clock
        self._begin = clock()
        self._next = self._begin + _FIRST_LINE
        self._metrics: Mapping[str, float] = {}

    def show(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """Print a line if one is due. The first evaluated epoch is shown at once."""
        is_first = metrics is not None and not self._metrics
        self._metrics = metrics or self._metrics
        if self._clock() < self._next and not is_first:
            return
        self._next = self._clock() + self._every
        count = f"{done:.3f}" if done % 1 else f"{done:.0f}"
        _log.info(", ".join([f"{count} of {self._epochs} epochs", *self._metrics_text(), f"{self._left(done)} left"]))

    def _metrics_text(self) -> list[str]:
        if not self._metrics:
            return []
        text = [f"{name} {self._metrics[name]:.3f}" for name in ("sparsity", "loss")]
        return [*text, f"validation {self._metric} {self._metrics['valid']:.3f}"]

    def _left(self, done: float) -> timedelta:
        """Time left at the pace since this process began."""
        pace = (self._clock() - self._begin) / max(done - self._first, 1e-9)
        return timedelta(seconds=round(pace * (self._epochs - done)))
