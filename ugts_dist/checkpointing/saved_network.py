"""Saved networks: tickets and dense networks, from a file of any origin or from the folder of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from ugts_dist.checkpointing.network_files import network_file
from ugts_dist.checkpointing.provenance import Labels, classes_of, data_of, labels_of, statistics_of
from ugts_dist.checkpointing.saved_own import SavedOwn
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import Data, TrainingFeatures
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.standardize import ColumnStatistics
from ugts_dist.metrics import Kind
from ugts_dist.models import GNN, plain_module
from ugts_dist.models.graph_level import GraphNetwork, Network
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file

_log = logging.getLogger(__name__)


class NetworkSnapshot(Protocol):
    """A network at some moment. Saving it needs nothing of the run, so that a thread can do it."""

    def save(self, path: Path) -> int:
        """Write it to a temporary file, flush it and rename it. Returns the size in bytes."""
        ...


HEAD = "head.weight"  # of graph-level networks


@dataclass(frozen=True)
class Named:
    """The data and the code that the user names for a saved network.

    Attributes:
        graph: a dataset, or the path of a store; empty: the network's own data.
        root: folder of the raw files; empty: as in the run beside the network, otherwise the default.
        factory: the code of an own network, as in `model.factory`.
    """

    graph: str = ""
    root: str = ""
    factory: str = ""


@dataclass(frozen=True)
class SavedNetwork:
    """A saved ticket or dense network.

    Attributes:
        path: its file.
        config: of its run, without paths of this machine, whatever the file contains.
        shapes: of its weights, by name.
        fill: writes its weights into a new network; raises InputError if they do not fit.
        metrics: of its run.
        data: of its run; None if unknown.
        statistics: of the columns of its training graph; None if they were not standardised, or not stored.
        known_classes: the names of classes that its file has.
        labels: what it predicts.
        own: of an own network; None for the networks of this program. Its code is in `config` only after
            `with_factory`: no file makes this program import anything.
    """

    path: Path
    config: Config
    shapes: Mapping[str, tuple[int, ...]]
    fill: Callable[[Network], Network]
    metrics: dict[str, float]
    data: DataChecksum | None
    statistics: ColumnStatistics | None = None
    known_classes: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)
    own: SavedOwn | None = None

    @property
    def kind(self) -> Kind:
        """What it predicts."""
        return "link" if self.config.task.kind == "link" else self.labels.kind_of(self.is_graph_level)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class; empty if they have none, or if they are unknown."""
        return self.known_classes if len(self.known_classes) == self.num_outputs else ()

    @property
    def trained_on(self) -> TrainingFeatures:
        """The features that it was trained on."""
        return TrainingFeatures("" if self.data is None else self.data.parts.get("features", ""), self.statistics)

    @property
    def is_graph_level(self) -> bool:
        """Whether it predicts for whole graphs instead of nodes."""
        return self.own is None and HEAD in self.shapes

    @property
    def num_features(self) -> int:
        """Number of features per node. Raises InputError if the weights do not fit the configuration."""
        if self.own is not None:
            return self.own.origin.in_channels
        return self._first_axis(_shapes(self.config, self.is_graph_level, 2, 1))

    @property
    def num_outputs(self) -> int:
        """Number of classes, or of graph labels. Raises InputError if the weights do not fit the configuration."""
        if self.own is not None:
            return self.own.origin.out_channels
        return self._first_axis(_shapes(self.config, self.is_graph_level, 1, 2))

    def network(self) -> Network:
        """The network, rebuilt on the CPU. Raises InputError if file and configuration do not fit together."""
        if self.own is not None:
            return self.fill(self.own.network(self.config))
        num_features = 0 if self.is_graph_level else self.num_features
        return self.fill(_new_network(self.config, self.is_graph_level, num_features, self.num_outputs))

    def with_factory(self, factory: str) -> SavedNetwork:
        """The same network with the code that the user names, if it is an own one.

        Raises InputError for an own network without its code, and for code that no own network needs.
        """
        if self.own is None:
            if factory:
                raise InputError(
                    f"--factory is {factory}, but {self.path} is a network of this program; allowed is none"
                )
            return self
        return replace(self, config=self.own.named(self.config, factory, self.path))

    def with_data(self, named: Named) -> SavedNetwork:
        """The same network with the data that the user names, or else its run's; see `config_with_data`."""
        return replace(self, config=config_with_data(self.config, self.path, named))

    def note_other_data(self, data: Data, ranks: Ranks) -> None:
        """Print a note on the main rank, with the differences, if `data` are not the network's own.

        It also says with which statistics other features are standardised. No note if the network's own data are
        unknown.
        """
        if self.data is not None and ranks.is_main and (differing := self.data.difference(DataChecksum.of(data))):
            scaled = self._scaling_of(data)
            _log.warning(f"note: {self.path} was found on other data than this {data.name}: {differing} differ{scaled}")
        if self.own is not None and ranks.is_main:
            self.own.note_other_code(self.config.model.factory, self.path)

    def _scaling_of(self, data: Data) -> str:
        """With which statistics other features than the network's own are standardised; empty if they are not."""
        if not isinstance(data, Graph) or data.statistics is None or self.trained_on.are_of(data):
            return ""
        used = "those of the training" if data.statistics is self.statistics else "its own"
        why = ", as an older version did not store those of the training" if self.statistics is None else ""
        return f"; means and deviations of its columns are {used}{why}"

    def _first_axis(self, other: Mapping[str, tuple[int, ...]]) -> int:
        """The size of the first axis that differs between these shapes and those of the narrowest network."""
        narrow = _shapes(self.config, self.is_graph_level, 1, 1)
        for name, shape in narrow.items():
            for axis, (one, another) in enumerate(zip(shape, other[name], strict=True)):
                if one != another:
                    return self.shapes[name][axis]
        raise _misfit(self.path, "no weight has the width of the data")


def load_saved(path: Path) -> SavedNetwork:
    """Read a .ticket file, a dense network (.safetensors), or either of them from the folder of a run.

    Raises InputError, in one line, for anything else, and for tensors that do not fit the configuration, before a
    network is allocated.
    """
    path = network_file(path)
    if path.suffix != ".safetensors":
        return of_ticket(Ticket.load(path), path)
    header, state = read_tensor_file(path, "dense", "a dense network (.safetensors)")
    described, metrics = header.get("config"), header.get("metrics")
    if not isinstance(described, dict) or not _are_numbers(metrics):
        raise InputError(f"{path}: a dense network without configuration or metrics; allowed are those of `ugts train`")
    return _checked(
        path, described, state, lambda model: model.load_state_dict(state), metrics, header.get("provenance")
    )


def of_ticket(ticket: Ticket, path: Path) -> SavedNetwork:
    """The network of a ticket that was read. Raises InputError as `load_saved`, and for one without configuration."""
    if not ticket.config:
        raise InputError(f"{path}: a ticket without a configuration; allowed are those that `ugts train` writes")
    tensors = ticket.masks | ticket.unmasked
    return _checked(path, ticket.config, tensors, ticket.apply, ticket.metrics, ticket.provenance)


def _checked(
    path: Path,
    described: dict[str, Any],
    tensors: Mapping[str, Tensor],
    write: Callable[[nn.Module], object],
    metrics: dict[str, float],
    provenance: Any,
) -> SavedNetwork:
    """Build the result after a check that the tensors fit the configuration."""
    config = Config.from_dict(described, str(path))
    own = None
    if config.model.factory:
        config, own = SavedOwn.split(config, provenance, path)
    else:
        _check_shapes(path, config, tensors)

    def fill(model: Network) -> Network:
        try:
            write(plain_module(model))
        except (ValueError, RuntimeError) as error:
            raise _misfit(path, str(error)) from None
        return model

    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    origin = data_of(provenance), statistics_of(provenance, path), classes_of(provenance)
    labels = labels_of(provenance, path)
    return SavedNetwork(path, config.without_places(), shapes, fill, metrics, *origin, labels, own)


def _misfit(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: does not fit the network that it describes ({' '.join(reason.split())[:200]})")


def _are_numbers(values: Any) -> TypeGuard[dict[str, float]]:
    return isinstance(values, dict) and all(
        type(value) is float or (type(value) is int and abs(value) < 2**53) for value in values.values()
    )


def _check_shapes(path: Path, config: Config, tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError if the configured network has other tensors; before anything is allocated for it."""
    if config.model.depth > len(tensors):
        raise _misfit(path, f"model.depth is {config.model.depth}, but it has {len(tensors)} tensors")
    try:
        narrow, wide = (_shapes(config, HEAD in tensors, width, width) for width in (1, 2))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:  # sizes that no tensor can have
        raise _misfit(path, str(error)) from None
    for name in sorted(narrow.keys() | tensors.keys()):
        if name not in tensors or name not in narrow:
            raise _misfit(path, f"{name!r:.99} is in one of them only")
        shape = tuple(tensors[name].shape)
        # Axes on which both agree depend on the configuration, the others on the data.
        if len(shape) != len(narrow[name]) or any(
            a == b != axis for a, b, axis in zip(narrow[name], wide[name], shape, strict=True)
        ):
            raise _misfit(path, f"{name} is of shape {shape}")


def _shapes(config: Config, graph_level: bool, num_features: int, num_outputs: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the configured network's tensors for data with so many features and outputs."""
    with torch.device("meta"):
        model = _new_network(config, graph_level, num_features, num_outputs)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _new_network(config: Config, graph_level: bool, num_features: int, num_outputs: int) -> Network:
    m = config.model
    if graph_level:
        return GraphNetwork(m.arch, num_outputs, m.depth, m.width, m.heads)
    return GNN.of(m, num_features, num_outputs)


def config_with_data(config: Config, file: Path, named: Named) -> Config:
    """The configuration of a saved network, with the data that the user names or that the run beside it names.

    Otherwise the network's own configuration may name a dataset or a prepared graph, but no path. Raises InputError if
    it does.
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
