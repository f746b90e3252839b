"""The trials of a search and their order, as a function of the space only."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuning.domains import Interval, Values
from tuning.space import SPARSITY, Part, Space
from ugts_dist.checkpointing.identity import run_key, with_absolute_paths
from ugts_dist.config import Config
from ugts_dist.errors import InputError


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        dense: True for a trained dense network, False for a ticket.
        fields: the values of the fields that vary.
        parent: key of the run whose scores this one starts from; empty: none.
    """

    dense: bool
    fields: Mapping[str, Any]
    config: Config
    parent: str = ""

    @property
    def key(self) -> str:
        """The key of the run, independent of the folder of its parent."""
        return run_key(self.config.replace({"run.init_scores": self.parent}))

    @property
    def label(self) -> str:
        """A short description, to show."""
        parts = ["dense"] if self.dense else []
        parts += [f"{name.partition('.')[2]} {shown(value)}" for name, value in self.fields.items()]
        return ", ".join(parts) or f"sparsity {self.config.supermask.sparsity:g}"

    def run_config(self, runs: Path) -> Config:
        """The configuration to run, in its folder under `runs`."""
        changes: dict[str, Any] = {"run.folder": str(runs / self.key), "log.progress": False}
        if self.parent:
            changes["run.init_scores"] = str(runs / self.parent)
        # A worker has another working directory than the search.
        return with_absolute_paths(self.config).replace(changes)

    def reseeded(self, offset: int) -> Trial:
        """The same with another seed."""
        return replace(self, config=self.config.replace({"run.seed": self.config.run.seed + offset}))


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_trial(part: Part, values: Mapping[str, Any], dense: bool, source: str) -> Trial:
    """The trial with these values. Raises InputError, with the values, if the configuration does not allow them."""
    try:
        config = part.config(values)
    except InputError as error:
        listed = ", ".join(f"{name} = {shown(value)}" for name, value in values.items())
        raise InputError(f"{source}: with {listed}: {error}") from None
    varied = part.varied
    return Trial(dense, {name: value for name, value in values.items() if name in varied}, config)


def list_trials(space: Space) -> list[Trial]:
    """The tickets of a grid or random search, without repetition, before they are linked.

    Raises InputError for a combination that is not allowed.
    """
    check_ends(space)
    points = _grid(space.tickets) if space.search.kind == "grid" else _draws(space)
    trials = [make_trial(space.tickets, values, dense=False, source=space.source) for values in points]
    return list({trial.key: trial for trial in trials}.values())


def list_dense(space: Space) -> list[Trial]:
    """The trained dense networks."""
    if space.dense is None:
        return []
    trials = [make_trial(space.dense, values, dense=True, source=space.source) for values in _grid(space.dense)]
    return list({trial.key: trial for trial in trials}.values())


def linked(trials: Iterable[Trial]) -> list[Trial]:
    """Let each trial start from the one with the next lower sparsity that is otherwise equal, and order them.

    The order does not depend on the trials' seeds.
    """
    made: list[Trial] = []
    last: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.config.supermask.sparsity):
        others = run_key(trial.config.replace({SPARSITY: 0.0}))
        before = last.get(others)
        if before is not None:
            start = {"supermask.initial_sparsity": before.config.supermask.sparsity}
            trial = replace(trial, config=trial.config.replace(start), parent=before.key)
        last[others] = trial
        made.append(trial)
    return made


def generations(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials in groups; each trial's parent is in an earlier group."""
    levels: dict[str, int] = {}
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        level = levels[trial.parent] + 1 if trial.parent in levels else 0
        levels[trial.key] = level
        groups.setdefault(level, []).append(trial)
    return [groups[level] for level in sorted(groups)]


def with_ancestors(wanted: Sequence[Trial], among: Sequence[Trial]) -> list[Trial]:
    """The wanted trials and, from `among`, their direct and indirect parents."""
    by_key = {trial.key: trial for trial in among}
    kept: dict[str, Trial] = {}
    for trial in wanted:
        chain = [trial]
        while chain[-1].parent in by_key:
            chain.append(by_key[chain[-1].parent])
        kept |= {link.key: link for link in reversed(chain)}
    return list(kept.values())


def _grid(part: Part) -> list[dict[str, Any]]:
    """Every combination; the last field varies fastest."""
    lists = [domain.values for domain in part.fields.values() if isinstance(domain, Values)]
    return [dict(zip(part.fields, values, strict=True)) for values in itertools.product(*lists)]


def _draws(space: Space) -> list[dict[str, Any]]:
    """Random points. Draw i has combination i of the grid fields, so that all combinations are equally frequent.

    A draw depends only on the seed and its number: with more trials the first ones stay the same.
    """
    fields = space.tickets.fields
    grid = {name: domain for name, domain in fields.items() if isinstance(domain, Values) and domain.grid}
    combinations = _grid(Part(space.tickets.base, grid))
    points = []
    for number in range(space.search.trials):
        generator = random.Random(f"{space.search.seed}/{number}")
        fixed = combinations[number % len(combinations)]
        points.append(
            {name: fixed[name] if name in fixed else domain.draw(generator) for name, domain in fields.items()}
        )
    return points


def check_ends(space: Space) -> None:
    """Raise InputError if an end of an interval is not allowed, before anything is drawn from it."""
    fields = space.tickets.fields
    fixed = {name: d.values[0] for name, d in fields.items() if isinstance(d, Values) and len(d.values) == 1}
    for name, domain in fields.items():
        if isinstance(domain, Interval):
            for end in (domain.low, domain.high):
                values = {**fixed, name: int(end) if domain.whole else end}
                make_trial(space.tickets, values, dense=False, source=space.source)
