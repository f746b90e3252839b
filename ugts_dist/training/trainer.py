"""The trainer: network, method, batches and optimiser of a run, with training steps and epochs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ugts_dist.checkpointing.state import Checkpoint, Progress, Tensors
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.finite import all_of, zero_if_finite
from ugts_dist.models import Dropout
from ugts_dist.recorded import Record, as_cuda_graph
from ugts_dist.tasks import Task
from ugts_dist.tasks.placement import why_not_recorded
from ugts_dist.training.averaging import average, data_parallel, statistics_of, without_averaging
from ugts_dist.training.methods import make_method
from ugts_dist.training.recorded_step import RecordedStep, StepInputs

_log = logging.getLogger(__name__)


class Trainer:
    """Trains the network of a task. `make_trainer` makes it, with its initial scores.

    Attributes:
        method: the network, and the tensors that are trained.
        batches: of this rank.
        progress: of the training.
    """

    def __init__(self, config: Config, task: Task[Any], ranks: Ranks) -> None:
        self.method = make_method(config, task.network(config), ranks)
        self.batches = task.batches(config, ranks)
        self.progress = Progress(self.batches.steps_per_epoch, torch.zeros((), device=ranks.device))
        self._config, self._task, self._ranks = config, task, ranks
        self._statistics = statistics_of(self.method.model)
        self._network = data_parallel(self.method.model, ranks, config.optim.compress)
        self._optimizer = torch.optim.Adam(
            self.method.trained().values(),
            lr=config.optim.lr,
            weight_decay=config.optim.weight_decay,
            fused=True,
            capturable=ranks.device.type == "cuda",
        )
        self._lr = config.optim.lr
        self._lr_on_device: Tensor | None = None
        self._recorded: RecordedStep | None = None
        self._masked_for: float | None = None  # the sparsity of the thresholds, if they fit the current scores

    @property
    def file(self) -> str:
        """Name of the best network's file."""
        return self.method.file

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the frozen weights; empty without frozen weights."""
        return self.method.fingerprint()

    def calibrate(self) -> None:
        """Scale the frozen weights of a new run by a forward pass."""
        batch = self.batches.calibration_batch()
        self.method.start(lambda: self._task.forward(self.method.model, batch))

    def regroup(self) -> None:
        """Let DDP group the gradients in the order in which they come, which it does after its first pass.

        It adds them up in the order of the groups, so that a resumed run would begin with other sums. A sum of two is
        the same in any order.
        """
        if self._ranks.world_size > 2:
            batches = self.batches
            batch = next(iter(batches.epoch(0))) if batches.repeats else batches.calibration_batch()
            self._task.forward(self._network, batch).sum().backward()
            self._optimizer.zero_grad()

    def tensors(self) -> Tensors:
        """The tensors that training changes: scores or weights and statistics, with Adam's moments and steps."""
        trained = self.method.trained()
        statistics = {name: value.float() for name, value in self._statistics.items()}
        moments = {
            f"{name}/{key}": value
            for name, parameter in trained.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }
        return {"trained": {**trained, **statistics}, "optimizer": moments}

    def state_dict(self) -> dict[str, Any]:
        """The fields of a `Checkpoint` that belong to the trainer. The tensors are not copies."""
        progress = self.progress
        return {
            "epoch": progress.epoch,
            "step": progress.step,
            "steps_per_epoch": progress.steps_per_epoch,
            "best": progress.best,
            "measured": dict(progress.measured),
            "gains": self.method.gains(),
            "fingerprint": self.fingerprint,
            "tensors": self.tensors(),
        }

    def load_state_dict(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint, on any number of ranks. Raises InputError if it is from another training."""
        best = self.file if checkpoint.best.epoch >= 0 else ""
        if checkpoint.best_file != best:
            raise InputError(f"{checkpoint.path}: its best network is {checkpoint.best_file!r}, allowed is {best!r}")
        self.load_scores(checkpoint)
        self._load_moments(checkpoint)
        self._load_progress(checkpoint)

    def load_scores(self, checkpoint: Checkpoint) -> None:
        """Load gains and scores. Raises InputError if they belong to other weights."""
        method, path = self.method, checkpoint.path
        method.set_gains({name: checkpoint.gains[name] for name in method.gains() if name in checkpoint.gains})
        if self.fingerprint != checkpoint.fingerprint:
            raise InputError(f"{path}: scores of other frozen weights; allowed are equal seed, layers and weight_init")
        trained, found = {**method.trained(), **self._statistics}, checkpoint.tensors["trained"]
        _require_equal(checkpoint, {name: tuple(value.shape) for name, value in trained.items()}, found)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(found[name])

    def _load_moments(self, checkpoint: Checkpoint) -> None:
        found = checkpoint.tensors["optimizer"]
        if not (found or checkpoint.epoch or checkpoint.step):  # before the first step
            return
        shapes: dict[str, tuple[int, ...]] = {}
        for name, value in self.method.trained().items():
            shape = tuple(value.shape)
            shapes |= {f"{name}/exp_avg": shape, f"{name}/exp_avg_sq": shape, f"{name}/step": ()}
        _require_equal(checkpoint, shapes, found)
        state = {
            number: {key: found[f"{name}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for number, name in enumerate(self.method.trained())
        }
        self._optimizer.load_state_dict({"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]})

    def _load_progress(self, checkpoint: Checkpoint) -> None:
        """Load the progress. Raises InputError within an epoch if the number of steps per epoch has changed."""
        progress, ranks = self.progress, self._ranks
        if checkpoint.step and checkpoint.steps_per_epoch != progress.steps_per_epoch:
            raise InputError(
                f"{checkpoint.path}: {checkpoint.step} of {checkpoint.steps_per_epoch} steps of an epoch are done, "
                f"which has {progress.steps_per_epoch} now; allowed is another batch.size or other data only between "
                "two epochs"
            )
        progress.epoch, progress.step = checkpoint.epoch, checkpoint.step
        progress.best, progress.measured = checkpoint.best, dict(checkpoint.measured)
        if len(checkpoint.losses) == ranks.world_size:
            loss = checkpoint.losses[ranks.rank]
        else:  # another number of ranks: the main rank takes the whole loss
            loss = sum(checkpoint.losses) if ranks.is_main else 0.0
        progress.loss.fill_(loss)

    def if_finite(self, loss: Tensor) -> Tensor:
        """The loss, or NaN if a trained tensor is not finite. Does not wait for the GPU."""
        return loss + zero_if_finite(all_of(self.tensors()), loss.device)

    def mask(self, sparsity: float) -> None:
        """Set the thresholds, unless they are already set for the current scores."""
        if self._masked_for != sparsity:
            self.method.set_sparsity(sparsity)
            self._masked_for = sparsity

    def epoch(
        self, number: int, sparsity: float, lr: float, after_step: Callable[[Progress], None] | None = None
    ) -> Tensor:
        """Train for one epoch, or the rest of it. Returns this rank's part of the mean loss, a scalar on its device."""
        self._lr = lr
        self._set_rate()
        progress = self.progress
        for batch in self.batches.epoch(number, progress.step):
            progress.loss += self.step(batch, sparsity)
            if batch.is_last:
                progress.step += 1
                if after_step is not None:
                    after_step(progress)
        return progress.loss / self.batches.steps_per_epoch

    def record(self, record: Record) -> None:
        """From now on, repeat a recorded step. For batches that repeat, in one process."""
        self._batch = next(iter(self.batches.epoch(0)))
        exact = torch.float32 if self._ranks.device.type == "cuda" else torch.float64  # as torch's Adam reads it
        self._lr_on_device = torch.tensor(self._lr, dtype=exact, device=self._ranks.device)
        self._set_rate()
        self._recorded = RecordedStep(self._whole_step, self._lr_on_device, lambda: all_of(self.tensors()), record)

    def _set_rate(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr if self._lr_on_device is None else self._lr_on_device

    @property
    def repeats_steps(self) -> bool:
        """Whether steps are repetitions of a recorded one now."""
        return self._recorded is not None and self._recorded.is_repeated

    def step(self, batch: Any, sparsity: float) -> Tensor:
        """One batch: threshold, forward with the masked weights, backward, and an update of the scores."""
        if self._recorded is not None:
            self._masked_for = None
            return self._recorded(batch.step, self._lr, self.method.targets(sparsity))
        self.mask(sparsity)
        loss = self._add_gradient(batch, batch.step)
        if batch.is_last:  # of the step's micro-batches
            self._update()
        return loss

    def _whole_step(self, inputs: StepInputs) -> Tensor:
        """A step that reads what differs between steps from its inputs, so that it can be recorded."""
        if inputs.targets is not None:
            self.method.apply(inputs.targets)
        loss = self._add_gradient(self._batch, inputs.number)
        self._update()
        return loss

    def _update(self) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad()
        average(self._statistics, self._ranks)
        self._masked_for = None

    def _add_gradient(self, batch: Any, number: int | Tensor) -> Tensor:
        """Forward and backward pass of step `number`. With the last batch of a step, the gradient is averaged over
        ranks."""
        config, task, world_size = self._config, self._task, self._ranks.world_size
        model = config.model
        dropout = Dropout(model.dropout, config.run.seed, number, batch.nodes, model.dropout_at)
        with matmul_precision(config), nullcontext() if batch.is_last else without_averaging(self._network):
            with autocast(config, self._ranks):
                logits = task.forward(self._network, batch, dropout)
            loss = task.loss(logits.float(), batch)
            # The ranks' losses add up to that of the step. DDP takes the mean over ranks, hence the world size.
            (loss if world_size == 1 else loss * world_size).backward()
        return loss.detach()


def make_trainer(
    config: Config,
    task: Task[Any],
    ranks: Ranks,
    resumed: Checkpoint | None = None,
    scores: Checkpoint | None = None,
) -> Trainer:
    """A trainer that resumes from a checkpoint, or starts from the scores of one, or begins anew and is calibrated."""
    trainer = Trainer(config, task, ranks)
    if resumed is not None:
        trainer.load_state_dict(resumed)
    elif scores is not None:
        trainer.load_scores(scores)
    else:
        trainer.calibrate()
    trainer.regroup()
    if ranks.device.type == "cuda":
        reason = why_not_recorded(config, ranks) or ("" if trainer.batches.repeats else "their batches differ")
        if not reason:
            trainer.record(as_cuda_graph)
        elif config.batch.size == 0 and ranks.is_main:
            _log.info("note: training steps are not recorded as a CUDA graph, as %s", reason)
    return trainer


def autocast(config: Config, ranks: Ranks) -> AbstractContextManager[Any]:
    """Layers in bfloat16 if `optim.precision` is bfloat16. Parameters, and so the gradients of scores, stay float32."""
    return torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.optim.precision == "bfloat16")


@contextmanager
def matmul_precision(config: Config) -> Iterator[None]:
    """float32 matrix products with precision "medium" if `optim.precision` is medium, forward and backward.

    https://docs.pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html
    """
    if config.optim.precision != "medium":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _require_equal(checkpoint: Checkpoint, shapes: dict[str, tuple[int, ...]], found: dict[str, Tensor]) -> None:
    """Raise InputError if the tensors of a checkpoint have other names, shapes or types."""
    for name in shapes.keys() | found.keys():
        wanted = shapes.get(name)
        has = tuple(found[name].shape) if name in found else None
        if wanted != has or found[name].dtype != torch.float32:
            raise InputError(f"{checkpoint.path}: {name!r:.99} has shape {has}, allowed is {wanted} of float32")
