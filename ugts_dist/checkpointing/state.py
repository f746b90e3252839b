"""What a checkpoint holds beside tensors, as JSON, believed only where every field is what it should be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ugts_dist.checkpointing.progress import Best
from ugts_dist.config import Config
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.supermask.recipe import check_gain


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside tensors.

    Attributes:
        epoch, step: the epoch that the run is in, and how many of its steps are done.
        losses: of each rank, the sum of its losses in this epoch.
        seconds: of training and evaluation so far.
        gains, fingerprint: of the frozen weights.
        best_file: name of the best network's file in the checkpoint; empty where there is none yet.
        best_sha256: its checksum.
        is_best: whether the best epoch has just been evaluated.
        config: the configuration of the run, as `Config.to_dict` gives it.
        data: that the run is made on; None in checkpoints of versions that did not save it.
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

    @property
    def name(self) -> str:
        """The folder's name."""
        steps = f"step-{self.epoch * self.steps_per_epoch + self.step:08d}"
        return f"{steps}-epoch-{self.epoch - 1}" if self.step == 0 and self.epoch > 0 else steps

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN, which JSON does not have, as null."""
        plain = dataclasses.asdict(self)
        plain["best"] = {name: None if math.isnan(value) else value for name, value in plain["best"].items()}
        plain["gains"] = {name: value.hex() for name, value in self.gains.items()}
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> State:
        """The state again. Raises KeyError, TypeError or ValueError for anything that `to_json` does not give."""
        names = {field.name for field in dataclasses.fields(cls)}
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


def _gains(values: Any) -> dict[str, float]:
    """Gains that weights can have: one of 0 or of any other magnitude that `check_gain` refuses was never written."""
    return {str(name): check_gain(float.fromhex(value)) for name, value in dict(values).items()}


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value < 2**62


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _require(name: str, condition: bool) -> None:
    if not condition:
        raise ValueError(f"{name} has a value that is not allowed")
