"""Runs that go on, or start again."""

from __future__ import annotations

from pathlib import Path

from tests.trials.case import case, ugts
from tests.trials.small import cut_off, edit, store, train, trained


@case(r"exit 2: ugts: \S+: a run with optim.lr 0.01 \(now 0.5\); to go on .*: --resume.override optim.lr$")
def edited_configuration(folder: Path) -> str:
    """The config.toml of a run that was cut off is edited, and the run goes on."""
    run = cut_off(store(folder / "data"), folder / "run")
    edit(run / "config.toml", "lr = 0.01", "lr = 0.5")
    return ugts("train", run).told


@case(r"exit 2: ugts: \S+: a run with optim.lr 0.01 \(now 0.5\)")
def edited_configuration_of_a_finished_run(folder: Path) -> str:
    """The config.toml of a finished run is edited, and its result is asked for."""
    run = trained(store(folder / "data"), folder / "run")
    edit(run / "config.toml", "lr = 0.01", "lr = 0.5")
    return ugts("train", run).told


@case(r"exit 2: ugts: \S+: a run with optim.average 0.0 \(now 0.9\)")
def another_average(folder: Path) -> str:
    """A run goes on with another optim.average, a field that old keys of runs do not have."""
    data = store(folder / "data")
    return train(data, trained(data, folder / "run"), "--optim.average", "0.9").told
