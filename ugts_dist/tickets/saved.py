"""A saved network as it is found: its file, its configuration, the width of its input and output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ugts_dist.checkpointing.saved_network import data_of, load_saved
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.models import GNN
from ugts_dist.models.graph_level import GraphNetwork, Network
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file
from ugts_dist.tickets.files import DENSE, TICKET, in_folder

Shapes = dict[str, tuple[int, ...]]

_INPUT = {  # the weight whose second axis is the width of a layer's input
    "gcn": "lin.weight",
    "sage": "lin_l.weight",
    "gin": "nn.0.weight",
    "gin-paper": "nn.weight",
    "gat": "lin.weight",
}
_OUTPUT = {  # the weight, and its axis that is the width of the last layer's output
    "gcn": ("lin.weight", 0),
    "sage": ("lin_l.weight", 0),
    "gin": ("nn.2.weight", 0),
    "gin-paper": ("nn.weight", 0),
    "gat": ("att_src", 2),
}


@dataclass(frozen=True)
class Saved:
    """A saved ticket or dense network.

    Attributes:
        path: its file.
        config: that it was found with; it names no place of this machine.
        shapes: of its weights, by name.
        fill: writes its weights into a new network; raises InputError for one that it does not fit.
        data: that it was found on, where it tells.
    """

    path: Path
    config: Config
    shapes: Shapes
    fill: Callable[[Network], Network]
    data: DataChecksum | None = None

    @property
    def is_graph_level(self) -> bool:
        """Whether it predicts for whole graphs instead of nodes."""
        return "head.weight" in self.shapes

    @property
    def num_features(self) -> int:
        """Width of a node's features. Raises InputError where the weights are not those of the configuration."""
        if self._has_connections:
            return self._axis("connections.input.weight", 1)
        return self._axis(f"convs.0.{_INPUT[self.config.model.arch]}", 1)

    @property
    def num_outputs(self) -> int:
        """Classes, or labels of a graph. Raises InputError where the weights are not those of the configuration."""
        if self.is_graph_level:
            return self._axis("head.weight", 0)
        if self._has_connections:
            return self._axis("connections.output.weight", 0)
        name, axis = _OUTPUT[self.config.model.arch]
        return self._axis(f"convs.{self.config.model.depth - 1}.{name}", axis)

    def network(self) -> Network:
        """The network, rebuilt on the CPU. Raises InputError where file and configuration do not fit together."""
        m = self.config.model
        if self.is_graph_level:
            return self.fill(GraphNetwork(m.arch, self.num_outputs, m.depth, m.width, m.heads))
        return self.fill(GNN.of(m, self.num_features, self.num_outputs))

    @property
    def _has_connections(self) -> bool:
        """Whether linear layers stand before and after the convolutions."""
        return self.config.model.skip != "none"

    def _axis(self, name: str, axis: int) -> int:
        shape = self.shapes.get(name, ())
        if len(shape) <= axis:
            raise InputError(f"{self.path}: does not fit the network that it describes ({name} is of shape {shape})")
        return shape[axis]


def load(path: Path) -> Saved:
    """A .ticket file, a dense network (.safetensors), or what the folder of a run has of them.

    Raises InputError for anything else, and for a ticket of the library, which does not tell its architecture.
    """
    path = in_folder(path, TICKET, DENSE)
    if path.suffix == ".safetensors":
        config, fill, _, data = load_saved(path)
        _, weights = read_tensor_file(path, "dense", "a dense network (.safetensors)")
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        return Saved(path, config, shapes, fill, data)
    return of_ticket(Ticket.load(path), path)


def of_ticket(ticket: Ticket, path: Path) -> Saved:
    """A ticket that was read from a file. Raises InputError for one without a configuration."""
    if not ticket.config:
        raise InputError(f"{path}: a ticket without a configuration; allowed are those that `ugts train` writes")

    def fill(model: Network) -> Network:
        try:
            ticket.apply(model)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: does not fit the network that it describes ({error})") from None
        return model

    config = Config.from_dict(ticket.config, str(path)).without_places()
    shapes = {name: tuple(mask.shape) for name, mask in ticket.masks.items()}
    return Saved(path, config, shapes, fill, data_of(ticket.provenance))
