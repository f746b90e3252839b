"""Saved networks: tickets and dense networks, from anybody or from the folder of a run of the reader's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor

import ugts_dist
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import Data
from ugts_dist.models import GNN
from ugts_dist.models.graph_level import GraphNetwork, Network
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file
from ugts_dist.terminal import note


class NetworkSnapshot(Protocol):
    """A network as it was at some moment; saving it needs nothing of the run, so that a thread can do it."""

    def save(self, path: Path) -> int:
        """Write it under a temporary name, flush it, rename it. Returns its size in bytes."""
        ...


class SavedNetwork(NamedTuple):
    """A saved ticket or dense network.

    Attributes:
        config: that it was found with. It names no place of this machine, from whomever the file comes.
        fill: writes its weights into a new model.
        metrics: that it was saved with.
        data: that it was found on, where it tells.
    """

    config: Config
    fill: Callable[[Network], Network]
    metrics: dict[str, float]
    data: DataChecksum | None


def load_saved(path: Path) -> SavedNetwork:
    """A saved ticket or dense network.

    Raises InputError, in one line, for a file that is neither, or whose tensors are not those of its configuration;
    so the network that it asks for is no larger than the file tells.
    """
    if path.suffix != ".safetensors":
        ticket = Ticket.load(path)
        if not ticket.config:
            raise InputError(f"{path}: a ticket without a configuration; allowed are those that `ugts train` writes")
        config = Config.from_dict(ticket.config, str(path))
        _check_shapes(path, config, ticket.masks | ticket.unmasked)

        def fill(model: Network) -> Network:
            try:
                ticket.apply(model)
            except (ValueError, RuntimeError) as error:
                raise _misfit(path, str(error)) from None
            return model

        return SavedNetwork(config.without_places(), fill, ticket.metrics, data_of(ticket.provenance))
    header, state = read_tensor_file(path, "dense", "a dense network (.safetensors)")
    described, metrics = header.get("config"), header.get("metrics")
    if not isinstance(described, dict) or not _are_numbers(metrics):
        raise InputError(f"{path}: a dense network without configuration or metrics; allowed are those of `ugts train`")
    dense_config = Config.from_dict(described, str(path))
    _check_shapes(path, dense_config, state)

    def fill_dense(model: Network) -> Network:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise _misfit(path, str(error)) from None
        return model

    return SavedNetwork(dense_config.without_places(), fill_dense, metrics, data_of(header.get("provenance")))


def _misfit(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: does not fit the network that it describes ({' '.join(reason.split())[:200]})")


def _are_numbers(values: Any) -> TypeGuard[dict[str, float]]:
    return isinstance(values, dict) and all(
        type(value) is float or (type(value) is int and abs(value) < 2**53) for value in values.values()
    )


def _check_shapes(path: Path, config: Config, tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError where the configured network has other tensors; before anything is allocated for it."""
    if config.model.depth > len(tensors):
        raise _misfit(path, f"model.depth is {config.model.depth}, but it has {len(tensors)} tensors")
    try:
        narrow, wide = (_shapes(config, "head.weight" in tensors, width) for width in (1, 2))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:  # sizes that no tensor can have
        raise _misfit(path, str(error)) from None
    for name in sorted(narrow.keys() | tensors.keys()):
        if name not in tensors or name not in narrow:
            raise _misfit(path, f"{name!r:.99} is in one of them only")
        found = tuple(tensors[name].shape)
        # The axes on which the two agree are up to the configuration, the others to the data.
        if len(found) != len(narrow[name]) or any(
            a == b != axis for a, b, axis in zip(narrow[name], wide[name], found, strict=True)
        ):
            raise _misfit(path, f"{name} is of shape {found}")


def _shapes(config: Config, graph_level: bool, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the configured network's tensors for data of `width` features and outputs."""
    m = config.model
    with torch.device("meta"):
        model: Network
        if graph_level:
            model = GraphNetwork(m.arch, width, m.depth, m.width, m.heads)
        else:
            model = GNN.of(m, width, width)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


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


def provenance(data: DataChecksum) -> dict[str, Any]:
    """Checksum of the data, and the versions; plain values, for JSON."""
    return {"data": data.to_dict(), "ugts_dist": ugts_dist.__version__, "torch": torch.__version__}


def data_of(provenance: Any) -> DataChecksum | None:
    """The data that a saved network was found on; None where it does not tell, or in a way that is not known here."""
    try:
        return DataChecksum.from_dict(provenance["data"])
    except (KeyError, TypeError, ValueError):
        return None
