"""The state of a run: its `Progress` in training, its `Best` epoch, and the saved `Checkpoint`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.metrics import Metric
from ugts_dist.supermask.recipe import check_gain

Tensors = dict[str, dict[str, Tensor]]
"""By kind, `trained` and `optimizer`; then by name."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far by the validation metric; the earliest one in a tie.

    Attributes:
        epoch, valid, test, sparsity: of the best admitted epoch; epoch -1 before the first one.
        valid_any, test_any: of the best of all epochs.
    """

    epoch: int = -1
    valid: float = -1.0
    test: float = math.nan
    sparsity: float = 0.0
    valid_any: float = -1.0
    test_any: float = math.nan

    def after(
        self, epoch: int, measured: dict[str, float], sparsity: Callable[[], float], admitted: bool, metric: Metric
    ) -> Best:
        """The best epoch after the evaluation of `epoch`; `sparsity` is called only if it is the new best."""
        valid, test = measured["valid"], measured["test"]
        valid_any, test_any = self.valid_any, self.test_any
        if math.isnan(test_any) or metric.is_better(valid, valid_any):
            valid_any, test_any = valid, test
        if admitted and (self.epoch < 0 or metric.is_better(valid, self.valid)):
            return Best(epoch, valid, test, sparsity(), valid_any, test_any)
        return Best(self.epoch, self.valid, self.test, self.sparsity, valid_any, test_any)


@dataclass
class Progress:
    """The progress of a run. The training loop changes it.

    Attributes:
        steps_per_epoch: of this run.
        loss: this rank's sum of the losses of this epoch, a scalar on the rank's device.
        epoch: the current epoch.
        step: number of finished steps of this epoch.
        best: the best epoch so far.
        measured: the last evaluation.
    """

    steps_per_epoch: int
    loss: Tensor
    epoch: int = 0
    step: int = 0
    best: Best = field(default_factory=Best)
    measured: dict[str, float] = field(default_factory=lambda: {"valid": 0.0, "test": 0.0})

    @property
    def steps(self) -> int:
        """Number of finished steps since the run began."""
        return self.epoch * self.steps_per_epoch + self.step

    def next_epoch(self) -> None:
        """Begin the next epoch, after the evaluation of the current one."""
        self.epoch, self.step = self.epoch + 1, 0
        self.loss.zero_()


@dataclass(frozen=True)
class Checkpoint:
    """The saved state of a run. `state.json` has all fields but `tensors` and `path`.

    Attributes:
        epoch, step: the current epoch, and the number of its finished steps.
        losses: of each rank, the sum of its losses in this epoch.
        seconds: of training and evaluation so far.
        gains, fingerprint: of the frozen weights.
        is_best: whether the best epoch has just been evaluated.
        config: the configuration of the run, from `Config.to_dict`.
        best_file: name of the best network's file in the checkpoint; empty before the first one.
        best_sha256: its checksum.
        data: the data of the run; None in checkpoints of versions that did not save it.
        tensors: what training changes: scores or weights, and Adam's moments.
        path: the folder, for a checkpoint that was read.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    losses: list[float]
    seconds: float
    best: Best
    measured: dict[str, float]
    gains: dict[str, float]
    fingerprint: str
    is_best: bool
    config: dict[str, Any]
    best_file: str = ""
    best_sha256: str = ""
    data: DataChecksum | None = None
    tensors: Tensors = field(default_factory=dict, compare=False, repr=False)
    path: Path = field(default_factory=Path, compare=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        steps = f"step-{self.epoch * self.steps_per_epoch + self.step:08d}"
        return f"{steps}-epoch-{self.epoch - 1}" if self.step == 0 and self.epoch > 0 else steps

    def to_json(self) -> dict[str, Any]:
        """Plain values of all fields but tensors and path. NaN, which JSON lacks, becomes null."""
        plain = {name: getattr(self, name) for name in _json_names()}
        plain["best"] = {name: None if math.isnan(value) else value for name, value in vars(self.best).items()}
        plain["gains"] = {name: value.hex() for name, value in self.gains.items()}
        plain["data"] = None if self.data is None else self.data.to_dict()
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Checkpoint:
        """Inverse of `to_json`; the tensors are missing.

        Raises KeyError, TypeError or ValueError for values that `to_json` does not return.
        """
        names = set(_json_names())
        values = {"data": None, **values}
        if set(values) != names:
            raise ValueError(f"fields {', '.join(sorted(set(values) ^ names))}")
        best: dict[str, Any] = {k: math.nan if v is None else v for k, v in dict(values["best"]).items()}
        _require("best", set(best) == {field.name for field in dataclasses.fields(Best)})
        data = None if values["data"] is None else DataChecksum.from_dict(values["data"])
        state = cls(**{**values, "best": Best(**best), "gains": _gains(values["gains"]), "data": data})
        state._check()
        return state

    def _check(self) -> None:
        _require("steps_per_epoch", _is_count(self.steps_per_epoch, 1))
        _require("epoch", _is_count(self.epoch, 0))
        _require("step", _is_count(self.step, 0) and self.step <= self.steps_per_epoch)
        _require("losses", isinstance(self.losses, list) and len(self.losses) > 0 and all(map(_finite, self.losses)))
        _require("seconds", _finite(self.seconds) and self.seconds >= 0)
        _require("best.epoch", _is_count(self.best.epoch, -1) and self.best.epoch <= self.epoch)
        for name in ("valid", "sparsity", "valid_any"):
            _require(f"best.{name}", _finite(getattr(self.best, name)))
        for name in ("test", "test_any"):
            _require(f"best.{name}", isinstance(getattr(self.best, name), float))
        _require("measured", isinstance(self.measured, dict) and {"valid", "test"} == set(self.measured))
        _require("measured", all(map(_finite, self.measured.values())))
        _require("is_best", isinstance(self.is_best, bool))
        for name in ("fingerprint", "best_file", "best_sha256"):
            _require(name, isinstance(getattr(self, name), str))
        _require("config", isinstance(self.config, dict))
        Config.from_dict(self.config, "config")
        _require("best_file", self.best_file in ("", "best.ticket", "best.safetensors"))


def _json_names() -> list[str]:
    """The fields that `state.json` has."""
    return [field.name for field in dataclasses.fields(Checkpoint) if field.name not in ("tensors", "path")]


def _gains(values: Any) -> dict[str, float]:
    """Gains of weights. Raises ValueError for values that `check_gain` refuses."""
    return {str(name): check_gain(float.fromhex(value)) for name, value in dict(values).items()}


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value < 2**62


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _require(name: str, condition: bool) -> None:
    if not condition:
        raise ValueError(f"{name} has a value that is not allowed")
