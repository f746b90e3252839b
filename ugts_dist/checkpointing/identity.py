"""Identity of a run: the configuration and data that determine its result, and what may differ when it resumes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.provenance import data_of
from ugts_dist.checkpointing.state import Checkpoint
from ugts_dist.config import Config, flat, place_fields
from ugts_dist.config_factory import ARGS, FACTORY, absolute
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.supermask.ticket_file import read_ticket_file
from ugts_dist.tensor_file import read_tensor_file
from ugts_dist.text_files import read_toml

FORMAT = 1  # to be raised when a change of the program changes the result of a configuration
DATA = "data"  # the name of the data in --resume.override
_OVERRIDE = "override.json"


@dataclass(frozen=True)
class Resume:
    """Whether and from where a run resumes.

    Attributes:
        source: `auto`: from the newest valid checkpoint of the run's own folder. `never`: always a new folder.
            Otherwise the folder of a run or of one of its checkpoints, from which a new folder resumes.
        override: fields that may differ from those of the resumed run; `data` for its data.
    """

    source: str = "auto"
    override: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError for an unknown field in `override`."""
        known = (*Config().with_effect(), DATA)
        for name in self.override:
            if name not in known and not name.startswith(f"{ARGS}."):
                raise InputError(f"--resume.override {name}: unknown, allowed are {', '.join(known)}")


@dataclass(frozen=True)
class Identity:
    """What determines a run's result.

    Attributes:
        data: None if unknown, as in files of older versions.
    """

    config: Config
    data: DataChecksum | None = None

    @classmethod
    def of_checkpoint(cls, state: Checkpoint, path: Path) -> Identity:
        """The identity of the run that wrote a checkpoint."""
        return cls(with_absolute_paths(Config.from_dict(state.config, str(path))), state.data)


def changes(before: Identity, now: Identity) -> dict[str, tuple[Any, Any]]:
    """The fields that differ, with both values. If both data are known, their name and place are ignored."""
    changed = before.config.changes(now.config)
    if before.data is not None and now.data is not None:
        changed.pop("data.name", None)
    return changed


def data_of_newest(folder: Path) -> DataChecksum | None:
    """The data of the run in a folder, from its newest checkpoint; None if unknown."""
    state = checkpoint.newest_state(folder)
    return None if state is None else state.data


def refuse_differences(path: str, before: Identity, own: Identity, override: Sequence[str]) -> None:
    """Raise InputError, with the names, for different fields that are not in `override`."""
    changed = {name: values for name, values in changes(before, own).items() if name not in override}
    if changed:
        shown = ", ".join(f"{name} {was!r} (now {now!r})" for name, (was, now) in changed.items())
        raise InputError(
            f"{path}: a run with {shown}; to resume with other values: --resume.override {' '.join(changed)}"
        )


def refuse_other(path: Path, before: Identity, own: Identity, override: Sequence[str]) -> None:
    """Raise InputError for a different configuration or different data, except in `override`."""
    refuse_differences(str(path), before, own, override)
    if before.data is None or own.data is None or DATA in override:
        return
    if differing := before.data.difference(own.data):
        raise InputError(
            f"{path}: a run on other data, {differing} differ (SHA-256 {before.data.sha256}, now {own.data.sha256}); "
            f"to resume with these: --resume.override {DATA}"
        )


def identity_of(start: Checkpoint, folder: Path) -> Identity:
    """The identity of the run in `folder` from this checkpoint on, including overrides since then."""
    try:
        noted = json.loads((folder / _OVERRIDE).read_text(encoding="utf-8"))
        if noted["checkpoint"] == start.name:
            data = None if noted["data"] is None else DataChecksum.from_dict(noted["data"])
            return Identity(with_absolute_paths(Config.from_dict(noted["config"], "")), data)
    except (OSError, KeyError, TypeError, ValueError):  # missing, or not written by this program
        pass
    return Identity.of_checkpoint(start, start.path)


def note_override(start: Checkpoint, folder: Path, own: Identity) -> None:
    """Record the overrides of a resumed run, in case it ends before its next checkpoint."""
    if identity_of(start, folder) != own:
        data = None if own.data is None else own.data.to_dict()
        noted = {"checkpoint": start.name, "config": own.config.to_dict(), "data": data}
        write_text(folder / _OVERRIDE, json.dumps(noted))


def refuse_other_finished(folder: Path, result: Mapping[str, Any], own: Identity, override: Sequence[str] = ()) -> None:
    """As `refuse_other`, for the finished run in a folder, with this result.

    Its identity is read from its last checkpoint, otherwise from its network. Without either, nothing is checked.
    """
    state = checkpoint.newest_state(folder)
    if state is not None:
        refuse_other(folder, Identity.of_checkpoint(state, folder), own, override)
    elif before := _identity_of_network(folder / Path(str(result["path"])).name):
        # A network does not store the place of its data, nor its initial scores.
        refuse_other(folder, before, Identity(Config.from_dict(own.config.portable(), ""), own.data), override)


def data_of_finished(folder: Path) -> DataChecksum | None:
    """The data of the finished run in a folder, from its last checkpoint or its network; None if unknown."""
    data = data_of_newest(folder)
    networks = (folder / name for name in ("best.ticket", "best.safetensors"))
    identities = (_identity_of_network(file) for file in networks if file.exists()) if data is None else iter(())
    return data or next((identity.data for identity in identities if identity is not None), None)


def _identity_of_network(file: Path) -> Identity | None:
    try:
        if file.suffix == ".safetensors":
            header, _ = read_tensor_file(file, "dense", "the network of a run")
        else:
            header, _ = read_ticket_file(file)
        return Identity(Config.from_dict(header["config"], str(file)), data_of(header["provenance"]))
    except (InputError, KeyError, TypeError):
        return None


def with_absolute_paths(config: Config) -> Config:
    """The configuration with absolute paths. The run's folder stays as it is, since it can be moved."""
    values = flat(config.to_dict())
    return config.replace(
        {name: absolute_value(name, values[name]) for name in ("data.name", FACTORY, *place_fields())}
    )


def absolute_value(name: str, value: str) -> str:
    """The absolute path for the value of one field, such as `data.root`. Other fields keep their value."""
    if name == "data.name":
        return catalogue.absolute_name(value)
    if name == FACTORY:
        return absolute(value)
    if not value or name == "run.folder" or name not in place_fields():
        return value
    return os.path.abspath(os.path.expanduser(value))


def settings_of(folder: Path) -> Config:
    """The configuration of the run in a folder. Raises InputError if it has none that can be read."""
    file = folder / "config.toml"
    return with_absolute_paths(Config.from_dict(read_toml(file, "a configuration"), str(file)))


def run_key(config: Config) -> str:
    """Names a run by a hash of all that determines its result."""
    text = json.dumps([FORMAT, config.determining()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
