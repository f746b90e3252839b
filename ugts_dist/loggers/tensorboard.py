"""TensorBoard: events in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ugts_dist.loggers.base import LoggedRun, Logger


class TensorBoard(Logger):
    """A curve of each metric. A resumed run replaces the epochs after its checkpoint."""

    def open(self, run: LoggedRun, known: str) -> str:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run.folder), purge_step=run.first_epoch or None)
        return ""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)

    def result(self, values: Mapping[str, float]) -> None:
        """Nothing: TensorBoard has no summary of a run, and the folder has result.json."""

    def close(self, finished: bool) -> None:
        self._writer.close()
