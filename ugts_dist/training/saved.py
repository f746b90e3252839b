"""Saved networks as their reader finds them: files from whomever, or in the folder of a run of the reader's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.terminal import note
from ugts_dist.training.methods import SavedNetwork, load_saved
from ugts_dist.training.tasks import Data


@dataclass(frozen=True)
class Named:
    """The data that the reader of a saved network names.

    Attributes:
        graph: a dataset, or the path of a store; empty: those that the network was found on.
        root: folder of the raw files; empty: as in the run beside the network, or else the usual one.
    """

    graph: str = ""
    root: str = ""


def saved_file(path: Path) -> Path:
    """The file itself, or the ticket or dense network in the folder of a run. Raises InputError where it has none."""
    if not path.is_dir():
        return path
    for name in ("best.ticket", "best.safetensors"):
        if (path / name).exists():
            return path / name
    raise InputError(f"{path}: no best.ticket or best.safetensors in this folder")


def open_saved(file: Path, named: Named) -> SavedNetwork:
    """As `load_saved`, with a configuration by which the data can be loaded. Raises InputError as `with_data` does."""
    saved = load_saved(file)
    return saved._replace(config=with_data(saved.config, file, named))


def with_data(config: Config, file: Path, named: Named) -> Config:
    """The configuration of a saved network, with the data that its reader names, or that the run beside it names.

    Else the network itself may name a dataset or a prepared graph, but no place on the reader's disk. Raises
    InputError where it does.
    """
    beside = file.parent / "config.toml"
    data = load_toml(beside).to_dict()["data"] if beside.exists() else {}
    if named.graph:
        data |= {"name": named.graph, "root": ""}
    elif not data and config.data.name not in molecules.FOLDERS:
        try:
            data["name"] = catalogue.without_path(config.data.name)
        except InputError as error:
            raise InputError(f"{file}: {error}; name the graph yourself: --graph NAME or PATH") from None
    data |= {"root": named.root} if named.root else {}
    return config.replace({f"data.{key}": value for key, value in data.items()})


def note_other_data(file: Path, there: DataChecksum | None, data: Data, ranks: Ranks) -> None:
    """A line of the main rank where a network is used on other data than it was found on: in what they differ.

    No line where the network does not tell what it was found on.
    """
    if there is not None and ranks.is_main and (found := there.difference(DataChecksum.of(data))):
        note(f"note: {file} was found on other data than this {data.name}: {found} differ")
