"""Finished runs that searches and reproductions find again, after their data have changed."""

from __future__ import annotations

from pathlib import Path

from tests.trials.case import case, ugts
from tests.trials.small import store, trained
from ugts_dist.config import load_toml
from ugts_dist.errors import InputError
from ugts_dist.experiments.grid import run_grid, run_key


@case(r"^refused: \S+: a finished run on other data, labels differ \(SHA-256 \S+, now \S+\); allowed are the same data")
def grid_on_other_data(folder: Path) -> str:
    """A grid of runs, as a reproduction makes it, finds a run whose labels have changed."""
    data, runs = store(folder / "data"), folder / "runs"
    run = trained(data, runs / "begun")
    config = load_toml(run / "config.toml")
    run.rename(runs / run_key(config))
    store(data, y=lambda y: y.roll(1))
    try:
        return f"taken: {run_grid([config], runs, 1)}"
    except InputError as error:
        return f"refused: {error}"


@case(r"exit 2: ugts: \S+: a finished run on other data, features differ .*, or another --name$")
def search_on_other_data(folder: Path) -> str:
    """A search goes on after the features of its graph have changed."""
    data, search = store(folder / "data"), folder / "searches/mine"
    space = folder / "mine.toml"
    space.write_text(f'[base.data]\nname = "{data}"\n[fields]\n"optim.lr" = {{grid = [0.1, 0.01]}}\n')
    trained(data, search / "runs/0123456789abcdef")
    store(data, x=lambda x: x * 2)
    return ugts("tune", "--space", space, "--storage", folder / "searches", "--name", "mine").told
