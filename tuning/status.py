"""The status of a search: finished and running trials, the best ticket so far, and the time left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from tuning.plan import Trial
from ugts_dist.metrics import Metric

_LEAST_PART = 0.05  # fraction of a stage's work from which its pace is known
_FAILED = ("failed", "lost")


@dataclass
class Status:
    """The trials of the current stage. Work is counted in epochs, so that the time left includes long trials.

    Attributes:
        title: of the stage.
        epochs: of each trial in total.
        done: epochs of each trial that has begun.
        states: of each trial that has begun.
        best: validation metric and sparsity of the best finished ticket of all stages.
        begin, done_before: seconds and epochs at the beginning of the stage.
    """

    title: str = ""
    epochs: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    best: tuple[float, float] | None = None
    begin: float = 0.0
    done_before: int = 0

    def stage(self, title: str, trials: Iterable[Trial], over: Mapping[str, str], now: float) -> None:
        """Begin a stage; `over` has the states of trials that are over."""
        self.title, self.begin = title, now
        self.epochs = {trial.key: trial.config.run.epochs for trial in trials}
        self.states = dict(over)
        self.done = {key: self.epochs[key] for key in over}
        self.done_before = sum(self.done.values())

    def finished(self, valid: float, sparsity: float, metric: Metric) -> None:
        """Record a finished ticket."""
        best = self.best or (valid, sparsity)
        if metric.is_better(valid, best[0]) or (valid == best[0] and sparsity >= best[1]):
            self.best = valid, sparsity

    def change(self, key: str, state: str) -> None:
        """Record that a trial runs, or has ended in some state."""
        self.states[key] = state
        if state != "running":
            self.done[key] = self.epochs.get(key, 0)

    @property
    def running(self) -> int:
        """Number of running trials."""
        return sum(state == "running" for state in self.states.values())

    @property
    def counts(self) -> str:
        """Number of finished and of failed trials, to show."""
        failed = sum(state in _FAILED for state in self.states.values())
        text = f"{len(self.states) - self.running} of {len(self.epochs)} trials done"
        return f"{text}, {failed} failed" if failed else text

    def left(self, now: float) -> timedelta | None:
        """Time left of this stage, at its pace so far; None at the beginning, since workers start slowly."""
        done, total = sum(self.done.values()), sum(self.epochs.values())
        made = done - self.done_before
        if made <= _LEAST_PART * (total - self.done_before):
            return None
        return timedelta(seconds=round((now - self.begin) / made * (total - done)))

    def line(self, now: float) -> str:
        """All of it in one line."""
        parts = [f"{self.title}: {self.counts}, {self.running} running"]
        if self.best is not None:
            parts.append(f"best ticket so far: validation {self.best[0]:.4f} at sparsity {self.best[1]:.4f}")
        left = self.left(now)
        return "; ".join(parts if left is None else [*parts, f"{left} left"])
