"""The loop: find a ticket (or train a dense network). It reads like the algorithm in the paper."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.models import Dropout
from ugts_dist.terminal import note
from ugts_dist.training import precision
from ugts_dist.training.averaging import Average
from ugts_dist.training.checkpoint import Tensors
from ugts_dist.training.finite import all_of, diverged, zero_if_finite
from ugts_dist.training.log import Log
from ugts_dist.training.methods import make_method
from ugts_dist.training.progress import Best, Progress
from ugts_dist.training.saver import Saver, Source
from ugts_dist.training.start import Start, tensors_of
from ugts_dist.training.tasks import Data, Task, make_task

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        epoch: the best epoch, by the validation metric among those that `run.select` admits.
        valid, test: the metric there.
        sparsity: achieved there, counted on the masks.
        test_any: test metric at the best validation epoch of all epochs (the rule of the paper's code).
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
    start: Start | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """Search for the ticket that `config` describes; the best one is in `folder` at the end.

    After each evaluated epoch every rank calls `on_epoch` with its number and its metrics.

    Raises FloatingPointError where loss, logits or scores are no longer finite, at the latest at the next evaluation,
    and StoppedError where a signal ended the run.
    """
    task = make_task(data)
    training = Training(config, task, ranks, start)
    method, evaluator, progress = training.method, task.evaluator(config, ranks), training.progress
    checksum = DataChecksum.of(data)
    first_admitted = method.schedule.end if config.run.select == "after-ramp" else 0

    with (
        Log(folder, config.log, config.label, task.metric, config.run.epochs, ranks.is_main, progress.epoch) as log,
        Saver(folder, config, ranks, training.source(checksum), start.seconds if start else 0.0) as saver,
    ):
        if ranks.is_main and config.log.progress and ranks.world_size > 1:
            note(share_of_a_rank(config, training.batches.steps_per_epoch, ranks.world_size))

        def after_step(done: Progress) -> None:
            log.step(done)
            saver.after_step(done)

        for epoch in range(progress.epoch, config.run.epochs):
            if _patience_is_over(config, progress.best, epoch):
                break
            sparsity, lr = method.schedule(epoch), learning_rate(config, epoch)
            loss = training.epoch(epoch, sparsity, lr, after_step)
            network, metrics = None, None
            if _evaluates(config, epoch):
                loss = training.if_finite(loss)
                # The network is always judged at its final sparsity, also while the sparsity still rises.
                with training.judged(method.schedule.final):
                    measured, loss_of_all = evaluator.measure(method.model, loss)
                    if not math.isfinite(loss_of_all):
                        raise diverged(epoch, progress.loss, training.tensors())
                    best = progress.best.after(epoch, measured, method.achieved_sparsity, epoch >= first_admitted)
                    progress.best, progress.measured = best, measured
                    if best.epoch == epoch and ranks.is_main:
                        there = {"epoch": epoch, **measured, "sparsity": best.sparsity}
                        network = method.snapshot(config, there, checksum)
                    metrics = {"sparsity": sparsity, "loss": loss_of_all, **measured, "lr": lr, **method.threshold()}
            log.epoch(epoch, metrics)
            progress.next_epoch()
            saver.after_epoch(progress, network)
            if on_epoch is not None and metrics is not None:
                on_epoch(epoch, metrics)
        path, seconds = saver.finish(progress), saver.seconds

    best = progress.best
    return Result(
        epoch=best.epoch,
        valid=best.valid,
        test=best.test,
        sparsity=best.sparsity,
        test_any=best.test_any,
        test_last=progress.measured["test"],
        seconds=seconds,
        path=str(path),
        bytes=path.stat().st_size if ranks.is_main else 0,
        metric=task.metric,
    )


class Training:
    """The network, its data and its optimiser; an epoch at a time."""

    def __init__(self, config: Config, task: Task[Any], ranks: Ranks, start: Start | None = None) -> None:
        self.method = make_method(config, task.network(config), ranks)
        self.batches = task.batches(config, ranks)
        self._config, self._task, self._ranks = config, task, ranks
        if start is None:
            calibration = self.batches.calibration_batch()
            self.method.start(lambda: task.forward(self.method.model, calibration))
        else:
            start.set_up(self.method)
        self._network = data_parallel(self.method.model, ranks, config.optim.compress)
        self._optimizer = torch.optim.Adam(
            self.method.trained().values(), lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=True
        )
        self._average = Average(self.method.trained(), config.optim.average)
        steps = self.batches.steps_per_epoch
        if start is not None and start.resumed:
            start.set_up_optimizer(self._optimizer, self.method, self._average)
            self.progress = start.progress(steps, ranks)
        else:
            self.progress = Progress(steps, torch.zeros((), device=ranks.device))
        self._masked_for: float | None = None  # the sparsity of the thresholds, where they fit the present scores

    def source(self, data: DataChecksum) -> Source:
        """What checkpoints of this training, on these data, are made of."""
        return Source(
            self.tensors,
            self.method.gains(),
            self.method.fingerprint(),
            self.method.file,
            data,
        )

    def tensors(self) -> Tensors:
        """What training changes, as it is now."""
        return tensors_of(self.method, self._optimizer, self._average)

    def if_finite(self, loss: Tensor) -> Tensor:
        """The loss, or NaN where what is trained is not finite; not waited for."""
        return loss + zero_if_finite(all_of(self.tensors()), loss.device)

    def mask(self, sparsity: float) -> None:
        """Set the thresholds, unless they are set for these scores already."""
        if self._masked_for != sparsity:
            self.method.set_sparsity(sparsity)
            self._masked_for = sparsity

    @contextmanager
    def judged(self, sparsity: float) -> Iterator[None]:
        """The network as it is evaluated and saved: masked, by the averaged scores where they are averaged."""
        with self._average.in_place():
            if self._average.tensors():
                self._masked_for = None
            self.mask(sparsity)
            yield
        if self._average.tensors():
            self._masked_for = None

    def epoch(
        self, number: int, sparsity: float, lr: float, after_step: Callable[[Progress], None] | None = None
    ) -> Tensor:
        """One pass over the training data, or what is left of it; this rank's part of the mean loss, not waited for."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        progress = self.progress
        for batch in self.batches.epoch(number, progress.step):
            progress.loss += self.step(batch, sparsity)
            if batch.is_last:
                progress.step += 1
                if after_step is not None:
                    after_step(progress)
        return progress.loss / self.batches.steps_per_epoch

    def step(self, batch: Any, sparsity: float) -> Tensor:
        """One batch: threshold, forward with the masked weights, backward, and a change of the scores."""
        self.mask(sparsity)
        with precision.products(self._config):
            loss = self._add_gradient(batch)
        if batch.is_last:  # of the parts that the step's seeds are cut into
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._average.update()
            self._masked_for = None
        return loss

    def _add_gradient(self, batch: Any) -> Tensor:
        """Forward and backward; the gradient is averaged over ranks with the last batch of a step."""
        config, task = self._config, self._task
        model = config.model
        dropout = Dropout(model.dropout, config.run.seed, batch.step, batch.nodes, model.dropout_at)
        with nullcontext() if batch.is_last else without_averaging(self._network):
            with precision.layers(config, self._ranks):
                logits = task.forward(self._network, batch, dropout)
            loss = task.loss(logits.float(), batch)
            # The ranks' losses add up to that of the step; DDP takes the mean over ranks, hence the world size.
            (loss * self._ranks.world_size).backward()
        return loss.detach()


def share_of_a_rank(config: Config, steps: int, world_size: int) -> str:
    """What a rank computes in a step, and what to change where that is little: for people, in a line."""
    size = config.batch.size
    if not size:
        return f"{world_size} ranks share the training nodes of the full batch, one step an epoch"
    return (
        f"{world_size} ranks share batch.size {size:,}: about {size / world_size:,.0f} seeds a rank and step, "
        f"{steps:,} steps an epoch. For {size:,} a rank: batch.size {size * world_size:,}, more epochs, "
        f"and up to {math.sqrt(world_size):.2g} times the optim.lr"
    )


def _evaluates(config: Config, epoch: int) -> bool:
    return (epoch + 1) % config.run.evaluate_every == 0 or epoch + 1 == config.run.epochs


def _patience_is_over(config: Config, best: Best, epoch: int) -> bool:
    """Whether training ends before this epoch; told by what a checkpoint keeps, so that a resumed run ends alike."""
    patience = config.run.patience
    return patience > 0 and best.epoch >= 0 and epoch - 1 - best.epoch >= patience


def learning_rate(config: Config, epoch: int) -> float:
    """Constant, or down along half a cosine (Loshchilov and Hutter 2017); a function of the epoch alone."""
    if config.optim.schedule == "cosine":
        return config.optim.lr * 0.5 * (1.0 + math.cos(math.pi * epoch / config.run.epochs))
    return config.optim.lr


def data_parallel(model: nn.Module, ranks: Ranks, compress: bool = False) -> nn.Module:
    """DDP, which averages the score gradients; the frozen weights have none, and no buffer is ever broadcast."""
    if ranks.process_group is None:
        return model
    options: dict[str, Any] = {"gradient_as_bucket_view": True}
    # The name since torch 2.13 of what was broadcast_buffers.
    known = inspect.signature(DistributedDataParallel).parameters
    options["forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"] = False
    network = DistributedDataParallel(model, process_group=ranks.process_group, **options)
    if compress:
        network.register_comm_hook(ranks.process_group, bf16_compress_hook)
    return network


def without_averaging(network: nn.Module) -> AbstractContextManager[Any]:
    """Gradients add up on each rank."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
