"""The loop: find a ticket (or train a dense network). It reads like the algorithm in the paper."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ugts_dist.config import Config
from ugts_dist.models import Dropout
from ugts_dist.training.log import Log
from ugts_dist.training.methods import make_method
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.tasks import Data, Task, make_task


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


def fit(config: Config, data: Data, ranks: Ranks, folder: Path) -> Result:
    """Search for the ticket that `config` describes; the best one is in `folder` at the end.

    Raises FloatingPointError where the loss stops being finite.
    """
    task = make_task(data)
    training = Training(config, task, ranks)
    method, evaluator = training.method, task.evaluator(config, ranks)
    best = _Best(method.schedule.end if config.run.select == "after-ramp" else 0)
    path, measured, started = folder, {"valid": 0.0, "test": 0.0}, time.perf_counter()

    with Log(folder, config.log, config.label, task.metric, config.run.epochs, ranks.is_main) as log:
        for epoch in range(config.run.epochs):
            sparsity, lr = method.schedule(epoch), _learning_rate(config, epoch)
            loss = training.epoch(epoch, sparsity, lr)
            if not _evaluates(config, epoch):
                log.epoch(epoch, None)
                continue
            # The network is always judged at its final sparsity, also while the sparsity still rises.
            training.mask(method.schedule.final)
            measured, loss_of_all = evaluator.measure(method.model, loss)
            if not math.isfinite(loss_of_all):
                raise FloatingPointError(f"the loss is {loss_of_all} in epoch {epoch}: try a smaller optim.lr")
            if best.update(epoch, measured, method.achieved_sparsity) and ranks.is_main:
                path = method.save(folder, config, {"epoch": epoch, **measured, "sparsity": best.sparsity})
            log.epoch(epoch, {"sparsity": sparsity, "loss": loss_of_all, **measured, "lr": lr})

    return Result(
        epoch=best.epoch,
        valid=best.valid,
        test=best.test,
        sparsity=best.sparsity,
        test_any=best.test_any,
        test_last=measured["test"],
        seconds=time.perf_counter() - started,
        path=str(path),
        bytes=path.stat().st_size if ranks.is_main else 0,
        metric=task.metric,
    )


class Training:
    """The network, its data and its optimiser; an epoch at a time."""

    def __init__(self, config: Config, task: Task[Any], ranks: Ranks) -> None:
        self.method = make_method(config, task.network(config), ranks)
        self.batches = task.batches(config, ranks)
        self._config, self._task, self._ranks = config, task, ranks
        calibration = self.batches.calibration_batch()
        self.method.start(lambda: task.forward(self.method.model, calibration))
        self._network = data_parallel(self.method.model, ranks, config.optim.compress)
        self._optimizer = torch.optim.Adam(
            self.method.trained(), lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=True
        )
        self._masked_for: float | None = None  # the sparsity of the thresholds, where they fit the present scores

    def mask(self, sparsity: float) -> None:
        """Set the thresholds, unless they are set for these scores already."""
        if self._masked_for != sparsity:
            self.method.set_sparsity(sparsity)
            self._masked_for = sparsity

    def epoch(self, number: int, sparsity: float, lr: float) -> Tensor:
        """One pass over the training data; this rank's part of the mean loss, which nobody has waited for."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), device=self._ranks.device)
        for batch in self.batches.epoch(number):
            total += self.step(batch, sparsity)
        return total / self.batches.steps_per_epoch

    def step(self, batch: Any, sparsity: float) -> Tensor:
        """One batch: threshold, forward with the masked weights, backward, and a change of the scores."""
        self.mask(sparsity)
        loss = self._add_gradient(batch)
        if batch.is_last:  # of the parts that the step's seeds are cut into
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._masked_for = None
        return loss

    def _add_gradient(self, batch: Any) -> Tensor:
        """Forward and backward; the gradient is averaged over ranks with the last batch of a step."""
        config, task = self._config, self._task
        dropout = Dropout(config.model.dropout, config.run.seed, batch.step, batch.nodes)
        with nullcontext() if batch.is_last else without_averaging(self._network):
            with precision(config, self._ranks):
                logits = task.forward(self._network, batch, dropout)
            loss = task.loss(logits.float(), batch)
            # The ranks' losses add up to that of the step; DDP takes the mean over ranks, hence the world size.
            (loss * self._ranks.world_size).backward()
        return loss.detach()


class _Best:
    """The best epoch by the validation metric, the earliest of equals, from `first_epoch` on."""

    def __init__(self, first_epoch: int) -> None:
        self._first_epoch = first_epoch
        self._valid_any = -1.0
        self.test_any = math.nan
        self.epoch, self.valid, self.test, self.sparsity = -1, -1.0, math.nan, 0.0

    def update(self, epoch: int, measured: dict[str, float], achieved_sparsity: Callable[[], float]) -> bool:
        """Take note of an evaluation; true where it is the best one so far."""
        if measured["valid"] > self._valid_any:
            self._valid_any, self.test_any = measured["valid"], measured["test"]
        if epoch < self._first_epoch or measured["valid"] <= self.valid:
            return False
        self.epoch, self.valid, self.test = epoch, measured["valid"], measured["test"]
        self.sparsity = achieved_sparsity()
        return True


def _evaluates(config: Config, epoch: int) -> bool:
    return (epoch + 1) % config.run.evaluate_every == 0 or epoch + 1 == config.run.epochs


def _learning_rate(config: Config, epoch: int) -> float:
    """Constant, or down along half a cosine (Loshchilov and Hutter 2017); a function of the epoch alone."""
    if config.optim.schedule == "cosine":
        return config.optim.lr * 0.5 * (1.0 + math.cos(math.pi * epoch / config.run.epochs))
    return config.optim.lr


def precision(config: Config, ranks: Ranks) -> AbstractContextManager[Any]:
    """Layers in bfloat16 where that is asked for; parameters, and so the scores' gradients, stay float32."""
    return torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.optim.precision == "bfloat16")


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
