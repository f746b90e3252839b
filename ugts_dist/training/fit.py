"""The loop: find a ticket (or train a dense network) on one graph. It reads like the algorithm in the paper."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ugts_dist.config import Config
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Dropout
from ugts_dist.training.batches import make_batches
from ugts_dist.training.evaluate import Evaluator
from ugts_dist.training.log import Log
from ugts_dist.training.methods import make_method
from ugts_dist.training.ranks import Ranks


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        epoch: the best epoch, by validation accuracy among those that `run.select` admits.
        valid, test: accuracies there.
        sparsity: achieved there, counted on the masks.
        test_any: test accuracy at the best validation epoch of all epochs (the rule of the paper's code).
        test_last: test accuracy after the last epoch.
        seconds: of training and evaluation.
        path: the saved ticket, or dense network.
        bytes: its size.
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

    def to_dict(self) -> dict[str, float | int | str]:
        return asdict(self)


def fit(config: Config, graph: Graph, ranks: Ranks, folder: Path) -> Result:
    """Search for the ticket that `config` describes; the best one is in `folder` at the end.

    Raises FloatingPointError where the loss stops being finite.
    """
    training = _Training(config, graph, ranks)
    method, evaluator = training.method, Evaluator(graph, ranks)
    best = _Best(method.schedule.end if config.run.select == "after-ramp" else 0)
    path, accuracy, started = folder, {"valid": 0.0, "test": 0.0}, time.perf_counter()

    with Log(folder, config.log, config.label, config.run.epochs, ranks.is_main) as log:
        for epoch in range(config.run.epochs):
            sparsity, lr = method.schedule(epoch), _learning_rate(config, epoch)
            loss = training.epoch(epoch, sparsity, lr)
            if not _evaluates(config, epoch):
                log.epoch(epoch, None)
                continue
            # The network is always judged at its final sparsity, also while the sparsity still rises.
            training.mask(method.schedule.final)
            accuracy, loss_of_all = evaluator.measure(method.model, loss)
            if not math.isfinite(loss_of_all):
                raise FloatingPointError(f"the loss is {loss_of_all} in epoch {epoch}: try a smaller optim.lr")
            if best.update(epoch, accuracy, method.achieved_sparsity) and ranks.is_main:
                path = method.save(folder, config, {"epoch": epoch, **accuracy, "sparsity": best.sparsity})
            log.epoch(epoch, {"sparsity": sparsity, "loss": loss_of_all, **accuracy, "lr": lr})

    return Result(
        epoch=best.epoch,
        valid=best.valid,
        test=best.test,
        sparsity=best.sparsity,
        test_any=best.test_any,
        test_last=accuracy["test"],
        seconds=time.perf_counter() - started,
        path=str(path),
        bytes=path.stat().st_size if ranks.is_main else 0,
    )


class _Training:
    """The network, its data and its optimiser; an epoch at a time."""

    def __init__(self, config: Config, graph: Graph, ranks: Ranks) -> None:
        self.method = make_method(config, graph, ranks)
        self._batches = make_batches(graph, config, ranks)
        self._config, self._ranks = config, ranks
        calibration = self._batches.calibration_batch()
        self.method.start(lambda: self.method.model(calibration.x, calibration.blocks))
        self._network = data_parallel(self.method.model, ranks)
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
        """One pass over the training nodes; this rank's part of the mean loss, which nobody has waited for."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), device=self._ranks.device)
        for batch in self._batches.epoch(number):
            self.mask(sparsity)
            dropout = Dropout(self._config.model.dropout, self._config.run.seed, batch.step, batch.nodes)
            logits = self._network(batch.x, batch.blocks, dropout)[batch.rows]
            # Divided by the seed nodes of all ranks; DDP takes the mean over ranks, hence the world size.
            loss = F.cross_entropy(logits, batch.y, reduction="sum") / batch.num_seeds_of_all
            self._optimizer.zero_grad()
            (loss * self._ranks.world_size).backward()
            self._optimizer.step()
            self._masked_for = None
            total += loss.detach()
        return total / self._batches.steps_per_epoch


class _Best:
    """The best epoch by validation accuracy, the earliest of equals, from `first_epoch` on."""

    def __init__(self, first_epoch: int) -> None:
        self._first_epoch = first_epoch
        self._valid_any = -1.0
        self.test_any = math.nan
        self.epoch, self.valid, self.test, self.sparsity = -1, -1.0, math.nan, 0.0

    def update(self, epoch: int, accuracy: dict[str, float], achieved_sparsity: Callable[[], float]) -> bool:
        """Take note of an evaluation; true where it is the best one so far."""
        if accuracy["valid"] > self._valid_any:
            self._valid_any, self.test_any = accuracy["valid"], accuracy["test"]
        if epoch < self._first_epoch or accuracy["valid"] <= self.valid:
            return False
        self.epoch, self.valid, self.test = epoch, accuracy["valid"], accuracy["test"]
        self.sparsity = achieved_sparsity()
        return True


def _evaluates(config: Config, epoch: int) -> bool:
    return (epoch + 1) % config.run.evaluate_every == 0 or epoch + 1 == config.run.epochs


def _learning_rate(config: Config, epoch: int) -> float:
    """Constant, or down along half a cosine (Loshchilov and Hutter 2017); a function of the epoch alone."""
    if config.optim.schedule == "cosine":
        return config.optim.lr * 0.5 * (1.0 + math.cos(math.pi * epoch / config.run.epochs))
    return config.optim.lr


def data_parallel(model: nn.Module, ranks: Ranks) -> nn.Module:
    """DDP, which averages the score gradients; the frozen weights have none, and no buffer is ever broadcast."""
    if ranks.process_group is None:
        return model
    options: dict[str, Any] = {"gradient_as_bucket_view": True}
    # The name since torch 2.13 of what was broadcast_buffers.
    known = inspect.signature(DistributedDataParallel).parameters
    options["forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"] = False
    return DistributedDataParallel(model, process_group=ranks.process_group, **options)
