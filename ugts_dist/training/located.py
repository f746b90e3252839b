"""Configurations whose data and first scores are found from any working directory."""

from __future__ import annotations

import os
from pathlib import Path

from ugts_dist.config import Config, load_toml, place_fields
from ugts_dist.graphs import catalogue


def located(config: Config) -> Config:
    """The same, with absolute paths; the folder of the run stays as it is, since whoever moves it says where it is."""
    names = ("data.name", *place_fields())
    values = {name: getattr(getattr(config, name.partition(".")[0]), name.partition(".")[2]) for name in names}
    return config.replace({name: located_value(name, value) for name, value in values.items()})


def located_value(name: str, value: str) -> str:
    """The same for the value of one field, such as `data.root`; a field that names no place keeps its value."""
    if name == "data.name":
        return catalogue.located(value)
    if not value or name == "run.folder" or name not in place_fields():
        return value
    return os.path.abspath(os.path.expanduser(value))


def settings_of(folder: Path) -> Config:
    """The configuration of the run in a folder. Raises InputError where it has none that can be read."""
    return located(load_toml(folder / "config.toml"))
