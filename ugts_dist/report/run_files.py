"""The files of a run's folder, as far as they can be read. The run may be running, and files may be damaged."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ugts_dist.checkpointing.network_files import DENSE, TICKET
from ugts_dist.checkpointing.provenance import labels_of
from ugts_dist.checkpointing.saved_network import HEAD
from ugts_dist.checkpointing.saved_own import NETWORK
from ugts_dist.config import Config, load_toml
from ugts_dist.errors import InputError
from ugts_dist.metrics import Kind, title_of
from ugts_dist.report.files import Folder, number
from ugts_dist.supermask import Ticket
from ugts_dist.supermask.coding import entropy_bytes
from ugts_dist.supermask.ticket_file import MASKS, read_ticket_file
from ugts_dist.tensor_file import read_tensor_file
from ugts_dist.text_files import parse_json


@dataclass(frozen=True)
class Layer:
    """One weight of a network: its shape, and the number of its kept entries."""

    name: str
    shape: tuple[int, ...]
    weights: int
    kept: int


@dataclass(frozen=True)
class Sizes:
    """Bytes of a saved network's file.

    Attributes:
        masks: the coded masks; 0 for a dense network.
        tensors: all other tensors.
        entropy: minimum size of masks with these densities.
        dense: of all weights in float32 and of the other tensors.
    """

    file: int
    masks: int
    tensors: int
    entropy: float
    dense: int

    @property
    def header(self) -> int:
        return self.file - self.masks - self.tensors


@dataclass(frozen=True)
class Network:
    """The saved best network of a run.

    Attributes:
        origin: seed, initialisation and fingerprint of frozen weights; empty for trained ones.
        kind: what it predicts.
    """

    file: str
    layers: list[Layer]
    sizes: Sizes
    config: dict[str, Any]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    origin: dict[str, Any]
    kind: Kind

    @property
    def is_ticket(self) -> bool:
        return bool(self.origin)

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)

    @property
    def kept(self) -> int:
        return sum(layer.kept for layer in self.layers)


@dataclass(frozen=True)
class RunFiles:
    """All that is known of a run.

    Attributes:
        folder: with the problems of reading it.
        epochs: the lines of metrics.jsonl, numbers only.
        result: None if the run is not finished.
    """

    folder: Folder
    config: Config | None
    epochs: list[dict[str, float]]
    result: dict[str, Any] | None
    network: Network | None

    @property
    def best(self) -> Mapping[str, Any]:
        """Number, metrics and sparsity of the best epoch; empty before the first one."""
        return self.result or (self.network.metrics if self.network is not None else {})

    @property
    def metric(self) -> str:
        """The title of the metric; empty if it is not known before the end of the run."""
        if self.result is not None and "metric" in self.result:
            return str(self.result["metric"])
        return "" if self.config is None else _metric_so_far(self.config, self.network)


def metric_so_far(path: Path, config: Config) -> str:
    """The title of the metric of a run that is not finished; empty if it is not known yet."""
    return _metric_so_far(config, _network(Folder(path)))


def _metric_so_far(config: Config, network: Network | None) -> str:
    """The configured metric, or that of what the network predicts."""
    task = config.task
    return title_of(task.metric, network.kind if task.kind == "auto" and network is not None else task.kind)


def read_run(path: Path) -> RunFiles:
    """Read a run's files. Raises InputError if none can be read."""
    folder = Folder(path)
    network = _network(folder)
    config = _config(folder, network)
    result = folder.result()
    epochs = list(_epochs(folder))
    if config is None and network is None and not epochs:
        raise InputError("; ".join(folder.problems))
    _compare(folder, result, network)
    return RunFiles(folder, config, epochs, result, network)


def _config(folder: Folder, network: Network | None) -> Config | None:
    try:
        return load_toml(folder.path / "config.toml")
    except InputError as error:
        folder.problems.append(str(error))
    try:
        return None if network is None else Config.from_dict(network.config, network.file)
    except InputError as error:
        folder.problems.append(str(error))
        return None


def _network(folder: Folder) -> Network | None:
    try:
        if folder.has(TICKET):
            return _ticket(folder.path / TICKET)
        return _dense(folder.path / DENSE) if folder.has(DENSE) else None
    except (InputError, OSError) as error:
        folder.problems.append(str(error))
        return None


def _ticket(path: Path) -> Network:
    ticket = Ticket.load(path)
    _, tensors = read_ticket_file(path)
    layers = [Layer(name, tuple(mask.shape), mask.numel(), int(mask.sum())) for name, mask in ticket.masks.items()]
    coded = [mask for masks in ticket.bit_masks().values() for mask in masks]
    unmasked = _bytes(ticket.unmasked.values())
    sizes = Sizes(
        file=path.stat().st_size,
        masks=_bytes([tensors[MASKS]]),
        tensors=unmasked,
        entropy=entropy_bytes([mask.size for mask in coded], [int(mask.sum()) for mask in coded]),
        dense=4 * sum(layer.weights for layer in layers) + unmasked,
    )
    origin = {
        "seed": ticket.recipe.seed,
        "initialisation": ticket.recipe.weight_init,
        "SHA-256 of the weights": ticket.fingerprint,
    }
    metrics, kind = dict(ticket.metrics), _kind(path, ticket.masks | ticket.unmasked, ticket.provenance)
    return Network(path.name, layers, sizes, ticket.config, metrics, ticket.provenance, origin, kind)


def _dense(path: Path) -> Network:
    header, tensors = read_tensor_file(path, "dense", "a dense network (.safetensors)")
    weights = {name: value for name, value in tensors.items() if value.dim() > 1}
    layers = [Layer(name, tuple(value.shape), value.numel(), value.numel()) for name, value in weights.items()]
    held = _bytes(tensors.values())
    sizes = Sizes(file=path.stat().st_size, masks=0, tensors=held, entropy=0.0, dense=held)
    entries = {name: header.get(name) for name in ("config", "metrics", "provenance")}
    parts = {name: value if isinstance(value, dict) else {} for name, value in entries.items()}
    kind = _kind(path, tensors, parts["provenance"])
    return Network(path.name, layers, sizes, parts["config"], parts["metrics"], parts["provenance"], {}, kind)


def _kind(path: Path, names: Container[str], provenance: Mapping[str, Any]) -> Kind:
    """What a network with tensors of these names predicts. Raises InputError for a kind that is unknown."""
    return labels_of(provenance, path).kind_of(graph_level=HEAD in names and NETWORK not in provenance)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _epochs(folder: Folder) -> Iterable[dict[str, float]]:
    text = folder.text("metrics.jsonl")
    # Text after the last end of a line is still being written.
    for place, line in enumerate((text or "").split("\n")[:-1], 1):
        try:
            values = parse_json(line)
            if number(values, "epoch") is None:
                raise ValueError("it has no epoch")
            yield {
                name: float(value)
                for name, value in values.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        except (ValueError, OverflowError, RecursionError) as error:
            folder.problems.append(f"{folder.path / 'metrics.jsonl'}: line {place} is damaged ({error})")


def _compare(folder: Folder, result: Mapping[str, Any] | None, network: Network | None) -> None:
    """Report a network from another run as a problem."""
    if not result or network is None:
        return
    found = {**network.metrics, "bytes": network.sizes.file}
    for name in ("epoch", "valid", "test", "sparsity", "bytes"):
        if name in found and result.get(name) != found[name]:
            folder.problems.append(
                f"{network.file} is another network than that of result.json: {name} is {found[name]} instead of "
                f"{result.get(name)}"
            )
            return
