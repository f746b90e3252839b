"""How a space is searched: its section [search]."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from tuning.answer import Objective
from ugts_dist.config import KINDS
from ugts_dist.errors import InputError, did_you_mean


@dataclass(frozen=True)
class SearchOptions:
    """How a space is searched.

    Attributes:
        objective: sparsity, the sparsest ticket that matches the trained dense network; bytes, the one of the smallest
            file, whatever its width and sparsity.
        kind: grid, every combination; random, draws; optuna, draws that learn from the finished trials.
        trials: how many, of random and optuna; the trained dense networks come on top.
        seed: of the draws.
        scheduler: asha stops the weaker trials early, among those of about the same sparsity (for bytes, also of the
            same network and form of masks); none.
        grace: epochs after the ramp that a trial has before asha may stop it.
        reduction: of the trials that reach a rung of asha, one in so many goes on.
        workers: ranks of a trial.
        cpus, gpus: of a rank.
        margin: how much lower than the dense network's a matching ticket's validation metric may be; -1: one standard
            deviation of the dense network's over seeds.
        winners: how many points of the front are run with further seeds, the sparsest or smallest that match first; 0:
            all.
        seeds: with how many seeds the winners and the best dense network are run.
        dense: whether trained dense networks are among the trials.
        warm_start: a trial starts from the scores of the one at the next lower sparsity.
        failures: how often a trial may lose a worker or a node.
    """

    objective: Objective = "sparsity"
    kind: Literal["grid", "random", "optuna"] = "grid"
    trials: int = 0
    seed: int = 0
    scheduler: Literal["asha", "none"] = "none"
    grace: int = 20
    reduction: int = 3
    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    margin: float = -1.0
    winners: int = 0
    seeds: int = 3
    dense: bool = True
    warm_start: bool = False
    failures: int = 3

    def __post_init__(self) -> None:
        if self.kind == "grid":
            _require(self.trials == 0, "trials", self.trials, "0 for a grid, which has as many as combinations")
        else:
            _require(self.trials >= 1, "trials", self.trials, f"1 or more, as kind is {self.kind}")
        for name, least in (("grace", 1), ("reduction", 2), ("workers", 1), ("cpus", 1), ("winners", 0), ("seeds", 1)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        _require(self.failures >= 0, "failures", self.failures, "0 or more")
        _require(0 <= self.gpus < math.inf, "gpus", self.gpus, "0 or more")
        _require(self.margin == -1.0 or 0 <= self.margin < 1, "margin", self.margin, "[0, 1), or -1")
        if self.warm_start:
            _require(self.scheduler == "none", "scheduler", self.scheduler, "none, as warm_start needs every trial")
            _require(self.kind != "optuna", "kind", self.kind, "grid or random, as warm_start is true")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def parse_search(values: Mapping[str, Any], source: str) -> SearchOptions:
    """From a table of a space file. Raises InputError."""
    hints = get_type_hints(SearchOptions)
    refuse_unknown(values, hints, f"{source}: unknown field in [search]")
    checked = {name: _typed(value, hints[name], f"{source}: search.{name}") for name, value in values.items()}
    try:
        return SearchOptions(**checked)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def refuse_unknown(names: Iterable[str], known: Iterable[str], complaint: str) -> None:
    """Raises InputError for the first name that is not known, with the one that was perhaps meant."""
    allowed = list(known)
    for name in names:
        if name not in allowed:
            listed = f"; allowed are {', '.join(allowed)}" if len(allowed) <= 20 else ""
            raise InputError(f"{complaint} {name!r}{did_you_mean(name, allowed)}{listed}")


def _typed(value: Any, hint: Any, where: str) -> Any:
    if get_args(hint):
        if value not in get_args(hint):
            raise InputError(f"{where} is {value!r}, allowed are {', '.join(get_args(hint))}")
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where} is {value!r}, allowed is {KINDS[hint]}")
    return value


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise InputError(f"search.{name} is {value}, allowed is {allowed}")
