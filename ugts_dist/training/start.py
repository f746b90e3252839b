"""Where a run begins: at the scores of another one, or in the middle of its own, on any number of ranks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugts_dist.checkpointing import files as checkpoint
from ugts_dist.checkpointing.files import Checkpoint, Tensors
from ugts_dist.checkpointing.progress import Progress
from ugts_dist.checkpointing.state import State
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.training.averaging import Average
from ugts_dist.training.methods import Method


@dataclass(frozen=True)
class Start:
    """A checkpoint to begin from, on every rank.

    Attributes:
        resumed: the run goes on; else only its frozen weights and scores are taken over.
    """

    state: State
    tensors: Tensors
    path: Path
    resumed: bool

    @property
    def seconds(self) -> float:
        """That the run has taken so far."""
        return self.state.seconds if self.resumed else 0.0

    def set_up(self, method: Method) -> None:
        """Gains and scores of the checkpoint. Raises InputError where they are of other weights."""
        method.set_gains({name: self.state.gains[name] for name in method.gains() if name in self.state.gains})
        if method.fingerprint() != self.state.fingerprint:
            raise InputError(
                f"{self.path}: scores of other frozen weights; allowed are equal seed, layers and weight_init"
            )
        best = method.file if self.state.best.epoch >= 0 else ""
        if self.resumed and self.state.best_file != best:
            raise InputError(f"{self.path}: its best network is {self.state.best_file!r}, allowed is {best!r}")
        trained, found = method.trained(), self.tensors["trained"]
        self._require_equal({name: value.shape for name, value in trained.items()}, found)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(found[name])

    def set_up_optimizer(self, optimizer: torch.optim.Optimizer, method: Method, average: Average) -> None:
        """The moments of the checkpoint, and the average, where the run goes on."""
        found = self.tensors["optimizer"]
        if not self.resumed or not (found or self.state.epoch or self.state.step):
            return
        trained = method.trained()
        shapes: dict[str, Any] = {}
        for name, value in trained.items():
            shapes |= {f"{name}/exp_avg": value.shape, f"{name}/exp_avg_sq": value.shape, f"{name}/step": ()}
        shapes |= {f"{name}/average": value.shape for name, value in average.tensors().items()}
        self._require_equal(shapes, found)
        state = {
            number: {key: found[f"{name}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for number, name in enumerate(trained)
        }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        average.restore({name: found[f"{name}/average"] for name in average.tensors()})

    def progress(self, steps_per_epoch: int, ranks: Ranks) -> Progress:
        """How far the run had come. Raises InputError within an epoch that has another number of steps now."""
        state = self.state
        if state.step and state.steps_per_epoch != steps_per_epoch:
            raise InputError(
                f"{self.path}: {state.step} of {state.steps_per_epoch} steps of an epoch are done, which has "
                f"{steps_per_epoch} now; allowed is another batch.size or other data only between two epochs"
            )
        return Progress(
            steps_per_epoch,
            torch.tensor(_own_loss(state.losses, ranks), dtype=torch.float32, device=ranks.device),
            state.epoch,
            state.step,
            state.best,
            dict(state.measured),
        )

    def _require_equal(self, shapes: dict[str, Any], found: dict[str, Tensor]) -> None:
        for name in shapes.keys() | found.keys():
            wanted = tuple(shapes[name]) if name in shapes else None
            has = tuple(found[name].shape) if name in found else None
            if wanted != has or found[name].dtype != torch.float32:
                raise InputError(f"{self.path}: {name!r:.99} has shape {has}, allowed is {wanted} of float32")


def start_of(opened: Checkpoint | None, config: Config, ranks: Ranks) -> Start | None:
    """Where the run begins: `opened` on the main rank, else the scores that the configuration names, else anew."""
    if not ranks.broadcast_text("resumed" if opened is not None else ""):
        if not config.run.init_scores:
            return None
        opened = ranks.raise_together(lambda: _init_scores(config) if ranks.is_main else None)
        return _of_all(opened, ranks, resumed=False)
    return _of_all(opened, ranks, resumed=True)


def tensors_of(method: Method, optimizer: torch.optim.Optimizer, average: Average) -> Tensors:
    """What training changes, as it is now: scores, and what the optimiser and the average know of each."""
    trained = method.trained()
    if not optimizer.state:  # before the first step
        return {"trained": dict(trained), "optimizer": {}}
    moments = {
        f"{name}/{key}": value
        for name, parameter in trained.items()
        for key, value in optimizer.state[parameter].items()
    }
    averages = {f"{name}/average": value for name, value in average.tensors().items()}
    return {"trained": dict(trained), "optimizer": moments | averages}


def _init_scores(config: Config) -> Checkpoint:
    return checkpoint.at(Path(config.run.init_scores), best=True)


def _own_loss(losses: list[float], ranks: Ranks) -> float:
    """This rank's sum; all of it is the main rank's where there were another number of ranks."""
    if len(losses) == ranks.world_size:
        return losses[ranks.rank]
    return sum(losses) if ranks.is_main else 0.0


def _of_all(own: Checkpoint | None, ranks: Ranks, resumed: bool) -> Start:
    """The main rank's checkpoint on every rank: they need not see its disk."""
    if own is not None:
        shapes = {
            kind: {name: list(value.shape) for name, value in group.items()} for kind, group in own.tensors.items()
        }
        told = ranks.broadcast_text(json.dumps([str(own.path), own.state.to_json(), shapes]))
        tensors = own.tensors
    else:
        told = ranks.broadcast_text("")
        tensors = {}
    path, state, shapes = json.loads(told)
    received: Tensors = {}
    for kind, group in shapes.items():
        received[kind] = {}
        for name, shape in group.items():
            value = tensors[kind][name] if own is not None else torch.empty(shape)
            received[kind][name] = ranks.broadcast(value.contiguous())
    return Start(State.from_json(state), received, Path(path), resumed)
