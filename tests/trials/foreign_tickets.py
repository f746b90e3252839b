"""Tickets from somebody else, which choose nothing on the reader's disk."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from tests.trials.case import case, ugts
from tests.trials.small import store, trained
from ugts_dist.config import Config
from ugts_dist.supermask import Ticket


def foreign(folder: Path, **changes: str) -> Path:
    """A ticket whose configuration somebody has changed; the store that it was found on is `data` in the folder."""
    run = trained(store(folder / "data"), folder / "run")
    path = shutil.copyfile(run / "best.ticket", folder / "a.ticket")
    ticket = Ticket.load(path)
    values = {name.replace("__", "."): value for name, value in changes.items()}
    config = Config.from_dict(ticket.config, "").replace(values)
    dataclasses.replace(ticket, config=config.to_dict()).save(path)
    return path


@case(r"exit 2: ugts: \S+/a.ticket: data.name: '\S+' is no plain name; name the graph yourself: --graph NAME or PATH$")
def ticket_with_a_path(folder: Path) -> str:
    """A ticket names the path of a store as its graph."""
    return ugts("evaluate", foreign(folder, data__name=str(folder / "data"))).told


@case(r"^exit 0: .*test accuracy")
def ticket_with_a_path_of_ones_own(folder: Path) -> str:
    """The same, and the reader names the graph."""
    path = foreign(folder, data__name="../../data")
    return ugts("evaluate", path, "--graph", folder / "data").told


@case(r"exit 0: .*test accuracy .*; spilled: \[\]")
def ticket_that_spills(folder: Path) -> str:
    """A ticket names a folder for what layers make, and places for everything else."""
    trap = folder / "trap"
    trap.mkdir()
    path = foreign(folder, run__spill=str(trap), data__root=str(trap), run__folder=str(trap))
    told = ugts("evaluate", path, "--graph", folder / "data").told
    return f"{told}; spilled: {list(trap.iterdir())}"
