"""Weights & Biases. Its variables WANDB_MODE, WANDB_ENTITY, WANDB_DIR and others have their usual meaning."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ugts_dist.loggers.base import LoggedRun, Logger


class WandB(Logger):
    """One run of Weights & Biases, whose files are in the run folder unless WANDB_DIR is set."""

    extra = "wandb"

    def open(self, run: LoggedRun, known: str) -> str:
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=known or None,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", run.folder),
            config=dict(run.settings),
            allow_val_change=True,  # of a run that resumes with other settings
            reinit="create_new",  # a program that uses the library may have a run of its own
            settings=wandb.Settings(console="off", quiet=True),  # it would capture the progress bar
        )
        return self._run.id

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=number)

    def result(self, values: Mapping[str, float]) -> None:
        self._run.summary.update({f"result/{name}": value for name, value in values.items()})

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
