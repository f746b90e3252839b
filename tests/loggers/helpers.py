"""Runs that are logged, and a logger that does what a test wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.training.helpers import config
from ugts_dist.config import Config, flat
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.loggers import LoggedRun, Logger, opened
from ugts_dist.metrics import Metric
from ugts_dist.training.fit import Result
from ugts_dist.training.run import run


class PowerCutError(Exception):
    """Ends a run in its midst."""


def interrupted_and_resumed(name: str) -> tuple[Config, Result, Path]:
    """A run of four epochs in the folder `mine` that is logged, ends in its third epoch, and is then resumed."""
    settings = config(log__to=[name], log__project="tickets", run__epochs=4, run__folder="mine", optim__lr=0.02)
    settings = settings.replace({"checkpoint.every_steps": 1})

    def fall(epoch: int, metrics: dict[str, float], metric: Metric) -> None:
        if epoch == 2:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(settings, Ranks(), on_epoch=fall)
    result, folder = run(settings, Ranks())
    return settings, result, folder


def written(folder: Path) -> dict[int, dict[str, float]]:
    """The metrics of each epoch in metrics.jsonl."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line.pop("epoch"): line for line in lines}


def logged_run(folder: Path) -> LoggedRun:
    return LoggedRun(folder, "tickets", flat(Config().to_dict()))


class Fake(Logger):
    """Notes its calls; a test sets what a call raises or does."""

    calls: ClassVar[list[Any]] = []
    failing: ClassVar[dict[str, Exception]] = {}

    def _note(self, name: str, *args: Any) -> None:
        self.calls.append((name, *args))
        if name in self.failing:
            raise self.failing[name]

    def open(self, run: LoggedRun, known: str) -> str:
        self._note("open", known)
        return known or "first"

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        self._note("epoch", number)

    def result(self, values: Mapping[str, float]) -> None:
        self._note("result", dict(values))

    def close(self, finished: bool) -> None:
        self._note("close", finished)


def fakes(monkeypatch: pytest.MonkeyPatch, **failing: Exception) -> list[Any]:
    """Every name of a logger is a `Fake` that raises these errors. Returns the list of its calls."""
    monkeypatch.setattr(opened, "logger_classes", lambda names: dict.fromkeys(names, Fake))
    monkeypatch.setattr(Fake, "calls", [])
    monkeypatch.setattr(Fake, "failing", failing)
    return Fake.calls
