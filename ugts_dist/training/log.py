"""What the main rank shows and logs: progress, metrics.jsonl, and the loggers of `log.to`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ugts_dist.checkpointing.state import Progress
from ugts_dist.loggers.opened import Loggers
from ugts_dist.training.display import Display


class Log:
    """One line per evaluated epoch, written to `metrics.jsonl`. It does nothing on other ranks than the main one."""

    def __init__(self, folder: Path, display: Display, loggers: Loggers, is_main: bool) -> None:
        self._display, self._loggers = display, loggers
        self._file = open(folder / "metrics.jsonl", "ab", buffering=0) if is_main else None  # noqa: SIM115

    def __enter__(self) -> Log:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)
        if self._file is not None:
            self._file.close()

    def step(self, progress: Progress) -> None:
        """Show a finished step. The last step of an epoch is shown with the epoch."""
        if progress.step < progress.steps_per_epoch:
            self._display.show(progress.epoch + progress.step / progress.steps_per_epoch)

    def epoch(self, number: int, metrics: dict[str, float] | None) -> None:
        """Show and log a finished epoch; `metrics` if it was evaluated."""
        self._display.show(number + 1, metrics)
        if metrics is None or self._file is None:
            return
        line = json.dumps({"epoch": number, **metrics}).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            error.filename = str(self._file.name)  # missing in the error of a full disk
            raise
        self._loggers.epoch(number, metrics)

    def result(self, values: Mapping[str, float]) -> None:
        """Log the result of the run, which ends with it."""
        self._loggers.result(values)
