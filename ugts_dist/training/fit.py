"""The training loop: find a ticket, or train a dense network. It reads like the algorithm in the paper."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ugts_dist.checkpointing.provenance import TrainedOn
from ugts_dist.checkpointing.saver import Saver
from ugts_dist.checkpointing.state import Best, Checkpoint, Progress
from ugts_dist.config import Config, flat
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.finite import diverged
from ugts_dist.graphs.configured import Data
from ugts_dist.loggers import LoggedRun
from ugts_dist.loggers.opened import Loggers
from ugts_dist.metrics import Metric
from ugts_dist.tasks import Task, make_task
from ugts_dist.training.display import display_for
from ugts_dist.training.log import Log
from ugts_dist.training.trainer import make_trainer

_log = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float], Metric], None]


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        epoch: the best epoch, by the validation metric among those that `run.select` admits.
        valid, test: the metric in that epoch.
        sparsity: achieved in that epoch, counted on the masks.
        test_any: test metric in the best validation epoch of all epochs (the rule of the paper's code).
        test_last: test metric after the last epoch.
        seconds: of training and evaluation.
        path: the saved ticket, or dense network.
        bytes: its size.
        metric: name of the metric.
    """

    epoch: int
    valid: float
    test: float
    sparsity: float
    test_any: float
    test_last: float
    seconds: float
    path: str
    bytes: int
    metric: str

    def to_dict(self) -> dict[str, float | int | str]:
        return asdict(self)


def fit(
    config: Config,
    data: Data,
    ranks: Ranks,
    folder: Path,
    resumed: Checkpoint | None = None,
    scores: Checkpoint | None = None,
    on_epoch: OnEpoch | None = None,
    task: Task[Any] | None = None,
) -> Result:
    """Search for the ticket that `config` describes. At the end, `folder` has the best one.

    The run resumes from the checkpoint `resumed`, begins with the scores of another run, or begins anew. After each
    evaluated epoch every rank calls `on_epoch` with its number, its metrics, and the metric of validation and test.
    `task` is that of the data, if it is made already.

    Raises FloatingPointError if loss, logits or scores are no longer finite, at the latest in the next evaluation, and
    StoppedError if a signal ended the run.
    """
    task = task or make_task(data, config, ranks.device)
    trainer = make_trainer(config, task, ranks, resumed, scores)
    method, evaluator, progress = trainer.method, task.evaluator(config, ranks), trainer.progress
    trained_on = TrainedOn.of(data, task.labels_json())
    first_admitted = method.schedule.end if config.run.select == "after-ramp" else 0
    display = display_for(config.log, config.label, task.metric.title, config.run.epochs, progress.epoch, ranks.is_main)

    with (
        _open_loggers(config, folder, progress.epoch, ranks) as loggers,
        Log(folder, display, loggers, ranks.is_main) as log,
        Saver(folder, config, ranks, trainer, trained_on.checksum, resumed.seconds if resumed else 0.0) as saver,
    ):
        if ranks.is_main and config.log.progress and ranks.world_size > 1:
            _log.info(share_of_a_rank(config, progress.steps_per_epoch, ranks.world_size))

        def after_step(done: Progress) -> None:
            log.step(done)
            saver.after_step(done)

        for epoch in range(progress.epoch, config.run.epochs):
            if _patience_is_over(config, progress.best, epoch):
                break
            sparsity, lr = method.schedule(epoch), learning_rate(config, epoch)
            loss = trainer.epoch(epoch, sparsity, lr, after_step)
            network, metrics = None, None
            if config.run.evaluates(epoch):
                # Evaluate at the network's final sparsity, even while the sparsity still rises.
                trainer.mask(method.schedule.final)
                measured, loss_of_all = evaluator.measure(method.model, trainer.if_finite(loss))
                if not math.isfinite(loss_of_all):
                    raise diverged(epoch, progress.loss, trainer.tensors())
                best = progress.best.after(
                    epoch, measured, method.achieved_sparsity, epoch >= first_admitted, task.metric
                )
                progress.best, progress.measured = best, measured
                if best.epoch == epoch and ranks.is_main:
                    there = {"epoch": epoch, **measured, "sparsity": best.sparsity}
                    network = method.snapshot(config, there, trained_on)
                metrics = {"sparsity": sparsity, "loss": loss_of_all, **measured, "lr": lr, **method.threshold()}
            log.epoch(epoch, metrics)
            progress.next_epoch()
            saver.after_epoch(network)
            if on_epoch is not None and metrics is not None:
                on_epoch(epoch, metrics, task.metric)
        path, best = saver.finish(), progress.best
        result = Result(
            epoch=best.epoch,
            valid=best.valid,
            test=best.test,
            sparsity=best.sparsity,
            test_any=best.test_any,
            test_last=progress.measured["test"],
            seconds=saver.seconds,
            path=str(path),
            bytes=path.stat().st_size if ranks.is_main else 0,
            metric=task.metric.title,
        )
        log.result({name: getattr(result, name) for name in ("valid", "test", "sparsity", "bytes")})
    return result


@contextmanager
def _open_loggers(config: Config, folder: Path, first_epoch: int, ranks: Ranks) -> Iterator[Loggers]:
    """The loggers of `log.to`, on the main rank. Raises InputError, on every rank, for one that can't begin."""
    run = LoggedRun(folder, config.log.project, flat(config.to_dict()), first_epoch)
    loggers = Loggers(run, config.log.to if ranks.is_main else ())
    with ExitStack() as stack:  # it closes them if another rank fails meanwhile, too
        yield ranks.raise_together(lambda: stack.enter_context(loggers))


def share_of_a_rank(config: Config, steps: int, world_size: int) -> str:
    """A line for the user: what a rank computes in a step, and what to change if that is little."""
    size = config.batch.size
    if not size:
        items = "edges" if config.task.kind == "link" else "nodes"
        return f"{world_size} ranks share the training {items} of the full batch, one step an epoch"
    return (
        f"{world_size} ranks share batch.size {size:,}: about {size / world_size:,.0f} seeds a rank and step, "
        f"{steps:,} steps an epoch. For {size:,} a rank: batch.size {size * world_size:,}, more epochs, "
        f"and up to {math.sqrt(world_size):.2g} times the optim.lr"
    )


def _patience_is_over(config: Config, best: Best, epoch: int) -> bool:
    """Whether training ends before this epoch. It depends on saved state only, so that a resumed run ends alike."""
    patience = config.run.patience
    return patience > 0 and best.epoch >= 0 and epoch - 1 - best.epoch >= patience


def learning_rate(config: Config, epoch: int) -> float:
    """The learning rate of an epoch: constant, or half a cosine down to 0 (Loshchilov and Hutter 2017)."""
    if config.optim.schedule == "cosine":
        return config.optim.lr * 0.5 * (1.0 + math.cos(math.pi * epoch / config.run.epochs))
    return config.optim.lr
