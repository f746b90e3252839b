"""The live view of a search: the whole of it, and a row for each trial that runs. Nothing without a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tuning.plan import Trial


class View:
    """Progress bars on standard error. Work is counted in epochs, so that the time left is that of long trials too."""

    def __init__(self, name: str, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=4)
        self._whole = self._progress.add_task(name, total=0, note="")
        self._name = name
        self._rows: dict[str, TaskID] = {}
        self._epochs: dict[str, int] = {}  # of all trials that are known
        self._done: dict[str, int] = {}
        self._over: set[str] = set()

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles whatever knows of trials, though it is never read again; a terminal stays here."""
        return {}

    def stage(self, title: str, trials: Iterable[Trial], over: Iterable[str]) -> None:
        """What comes next, and which of it is there already; the time left is that of this stage."""
        self._epochs = {trial.key: trial.config.run.epochs for trial in trials}
        self._over = {*over}
        self._done = {key: self._epochs[key] for key in self._over}
        self._progress.reset(self._whole, description=f"{self._name}: {title}")
        self._show_whole()

    def row(self, trial: Trial) -> None:
        """A trial begins, or begins again."""
        self._epochs[trial.key] = trial.config.run.epochs
        if trial.key not in self._rows:
            label = "  " + trial.label
            self._rows[trial.key] = self._progress.add_task(label, total=trial.config.run.epochs, note="")

    def epoch(self, key: str, told: dict[str, Any]) -> None:
        """A trial has told an epoch."""
        self._done[key] = told["epoch"] + 1
        if key in self._rows:
            note = f"sparsity {told['sparsity']:.3f}  validation {told['valid']:.3f}"
            self._progress.update(self._rows[key], completed=self._done[key], note=note)
        self._show_whole()

    def end(self, key: str) -> None:
        """A trial is over, however it ended."""
        self._over.add(key)
        self._done[key] = self._epochs.get(key, 0)
        if key in self._rows:
            self._progress.remove_task(self._rows.pop(key))
        self._show_whole()

    def _show_whole(self) -> None:
        note = f"{len(self._over)} of {len(self._epochs)} trials"
        total, done = sum(self._epochs.values()), sum(self._done.values())
        self._progress.update(self._whole, total=total, completed=done, note=note)
