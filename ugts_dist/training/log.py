"""What the main rank shows and writes: progress bar, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ugts_dist.config_sections import LogConfig


class Log:
    """One line a measured epoch, kept in `metrics.jsonl`. On other ranks than the main one, nothing."""

    def __init__(
        self, folder: Path, config: LogConfig, label: str, metric: str, epochs: int, is_main: bool, first_epoch: int = 0
    ) -> None:
        self._metric = metric
        self._writer: Any = None
        self._file = open(folder / "metrics.jsonl", "ab", buffering=0) if is_main else None  # noqa: SIM115
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(
            *columns,
            console=Console(stderr=True),
            disable=not (is_main and config.progress),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(label, total=epochs, completed=first_epoch, note="")
        if is_main and config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def __enter__(self) -> Log:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def epoch(self, number: int, metrics: dict[str, float] | None) -> None:
        """Epoch `number` is done; `metrics` where it was evaluated."""
        self._progress.update(self._task, completed=number + 1)
        if metrics is None or self._file is None:
            return
        note = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("sparsity", "loss"))
        note += f"  validation {self._metric} {metrics['valid']:.3f}"
        self._progress.update(self._task, note=note)
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
