"""How a space is searched: its section [search]."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from ugts_dist.config_limits import require
from ugts_dist.config_types import typed
from ugts_dist.errors import InputError, refuse_unknown
from ugts_dist.report.search_files import Objective


@dataclass(frozen=True)
class SearchOptions:
    """How a space is searched.

    Attributes:
        objective: sparsity: the sparsest ticket that matches the trained dense network. bytes: the one with the
            smallest file, for any width and sparsity.
        kind: grid: every combination. random: draws. optuna: draws that learn from the finished trials.
        trials: number of trials for random and optuna; the trained dense networks are additional.
        seed: of the draws.
        scheduler: asha: stop the weaker trials early, among those of about the same sparsity (for bytes, also of the
            same network and form of masks). none: stop no trial.
        grace: epochs after the ramp before asha may stop a trial.
        reduction: one in this many of the trials that reach a rung of asha continues.
        workers: ranks of a trial.
        cpus, gpus: of a rank.
        margin: how much worse than the dense network's a matching ticket's validation metric may be; -1: one standard
            deviation of the dense network's over seeds.
        winners: number of points of the front that are run with further seeds, the sparsest or smallest matching ones
            first; 0: all.
        seeds: number of seeds for the winners and the best dense network.
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
            require(self.trials == 0, "search.trials", self.trials, "0 for a grid, which has as many as combinations")
        else:
            require(self.trials >= 1, "search.trials", self.trials, f"1 or more, as kind is {self.kind}")
        for name, least in (("grace", 1), ("reduction", 2), ("workers", 1), ("cpus", 1), ("winners", 0), ("seeds", 1)):
            require(getattr(self, name) >= least, f"search.{name}", getattr(self, name), f"{least} or more")
        require(self.failures >= 0, "search.failures", self.failures, "0 or more")
        require(0 <= self.gpus < math.inf, "search.gpus", self.gpus, "0 or more")
        is_margin = self.margin == -1.0 or 0 <= self.margin < math.inf
        require(is_margin, "search.margin", self.margin, "0 or more, or -1")
        if self.warm_start:
            require(
                self.scheduler == "none", "search.scheduler", self.scheduler, "none, as warm_start needs every trial"
            )
            require(self.kind != "optuna", "search.kind", self.kind, "grid or random, as warm_start is true")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def parse_search(values: Mapping[str, Any], source: str) -> SearchOptions:
    """Parse a table of a space file. Raises InputError."""
    hints = get_type_hints(SearchOptions)
    refuse_unknown(values, hints, f"{source}: unknown field in [search]")
    checked = {name: typed(value, hints[name], f"{source}: search.{name}") for name, value in values.items()}
    try:
        return SearchOptions(**checked)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
