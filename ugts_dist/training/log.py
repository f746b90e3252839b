"""What the main rank shows and writes: progress, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from ugts_dist.config_sections import LogConfig
from ugts_dist.training.display import Bar, Display, Lines, Silent
from ugts_dist.training.progress import Progress


class Log:
    """One line a measured epoch, kept in `metrics.jsonl`. On other ranks than the main one, nothing."""

    def __init__(
        self, folder: Path, config: LogConfig, label: str, metric: str, epochs: int, is_main: bool, first_epoch: int = 0
    ) -> None:
        self._writer: Any = None
        self._file = open(folder / "metrics.jsonl", "ab", buffering=0) if is_main else None  # noqa: SIM115
        self._display: Display = Silent()
        if is_main and config.progress:
            console = Console(stderr=True)
            if console.is_terminal:
                self._display = Bar(label, metric, epochs, first_epoch, console)
            else:
                self._display = Lines(metric, epochs, first_epoch, config.every_seconds)
        if is_main and config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def __enter__(self) -> Log:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, progress: Progress) -> None:
        """A step is done; the last one of an epoch is shown with the epoch."""
        if progress.step < progress.steps_per_epoch:
            self._display.show(progress.epoch + progress.step / progress.steps_per_epoch)

    def epoch(self, number: int, metrics: dict[str, float] | None) -> None:
        """Epoch `number` is done; `metrics` where it was evaluated."""
        self._display.show(number + 1, metrics)
        if metrics is None or self._file is None:
            return
        line = json.dumps({"epoch": number, **metrics}).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            error.filename = str(self._file.name)  # what a full disk does not tell
            raise
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, number)
