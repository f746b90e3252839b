"""What is trained: the scores of a ticket, or the weights of the dense network that it is compared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import nn

from ugts_dist.atomic import write_file
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import GNN
from ugts_dist.models.graph_level import GraphNetwork
from ugts_dist.supermask import Schedule, Supermask, Ticket, calibrate, sparsify
from ugts_dist.training.ranks import Ranks

Network = GNN | GraphNetwork


class Method(Protocol):
    """One way to fit a network."""

    model: Network
    schedule: Schedule

    def trained(self) -> list[nn.Parameter]:
        """The tensors that the optimiser changes."""
        ...

    def start(self, forward: Callable[[], Any]) -> None:
        """Before the first step; `forward` runs the model once."""
        ...

    def set_sparsity(self, sparsity: float) -> None:
        """Before each forward; collective where there are ranks."""
        ...

    def achieved_sparsity(self) -> float:
        """The fraction of weights that are masked now."""
        ...

    def save(self, folder: Path, config: Config, metrics: Mapping[str, float]) -> Path:
        """Write the network as it is now."""
        ...


class TicketSearch:
    """Frozen weights, trained scores."""

    def __init__(self, model: Network, config: Config, ranks: Ranks) -> None:
        options = config.supermask
        scope, ramp = options.parts
        self.model = model
        self.schedule = Schedule(options.sparsity, config.ramp_epochs, power=3 if ramp == "cubic" else 1)
        self._options = options
        self.mask: Supermask = sparsify(
            model,
            config.weight_seed,
            weight_init=options.weight_init,
            score_init=options.score_init,
            score_scale=options.score_scale,
            scope=scope,
            rescale=options.rescale,
            ranking=options.ranking,
            process_group=ranks.process_group,
        )

    def trained(self) -> list[nn.Parameter]:
        return self.mask.scores()

    def start(self, forward: Callable[[], Any]) -> None:
        options, model = self._options, self.model
        if options.calibrate:
            levels = dict.fromkeys(model.attention(), options.attention_rms)
            levels |= dict.fromkeys(model.outputs(), options.output_rms)
            calibrate(self.mask, forward, model.calibrated(), sparsity=options.calibrate_at, levels=levels)

    def set_sparsity(self, sparsity: float) -> None:
        self.mask.step(sparsity)

    def achieved_sparsity(self) -> float:
        return self.mask.sparsity()

    def save(self, folder: Path, config: Config, metrics: Mapping[str, float]) -> Path:
        path = folder / "best.ticket"
        Ticket.of(self.mask, config.portable(), metrics).save(path)
        return path


class DenseTraining:
    """Trained weights, no mask: the network that a ticket has to match."""

    def __init__(self, model: Network, config: Config, ranks: Ranks) -> None:
        self.model = model
        self.schedule = Schedule(0.0)

    def trained(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def start(self, forward: Callable[[], Any]) -> None:
        """Trained weights find their own scale."""

    def set_sparsity(self, sparsity: float) -> None:
        """Nothing is masked."""

    def achieved_sparsity(self) -> float:
        return 0.0

    def save(self, folder: Path, config: Config, metrics: Mapping[str, float]) -> Path:
        path = folder / "best.safetensors"
        header = {"dense": json.dumps({"config": config.portable(), "metrics": dict(metrics)})}
        data = safetensors.torch.save({k: v.contiguous() for k, v in self.model.state_dict().items()}, header)
        write_file(path, data)
        return path


def build_model(config: Config, graph: Graph) -> GNN:
    """The plain dense network, its weights drawn by PyG's own initialisation from the run's seed."""
    torch.manual_seed(config.weight_seed)
    m = config.model
    return GNN(m.arch, graph.num_features, graph.num_classes, m.depth, m.width, m.heads)


def make_method(config: Config, model: Network, ranks: Ranks) -> Method:
    """The method that the configuration asks for, around a plain model, which it moves to the rank's device."""
    kind = DenseTraining if config.supermask.method == "dense" else TicketSearch
    return kind(model.to(ranks.device), config, ranks)


def load_saved(path: Path) -> tuple[Config, Callable[[Network], Network], dict[str, float]]:
    """A saved ticket or dense network: its configuration, what fills a new model with it, and its metrics.

    Raises InputError, in one line, for a file that is neither.
    """
    if path.suffix != ".safetensors":
        ticket = Ticket.load(path)
        if not ticket.config:
            raise InputError(f"{path}: a ticket without a configuration; allowed are those that `ugts train` writes")
        config = Config.from_dict(ticket.config, str(path))

        def fill(model: Network) -> Network:
            try:
                ticket.apply(model)
            except (ValueError, RuntimeError) as error:
                raise InputError(f"{path}: does not fit the network that it describes ({error})") from None
            return model

        return config, fill, ticket.metrics
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["dense"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        described, metrics = dict(header["config"]), dict(header["metrics"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a dense network of this program, or damaged ({error})") from None

    def fill_dense(model: Network) -> Network:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{path}: does not fit the network that it describes ({error})") from None
        return model

    return Config.from_dict(described, str(path)), fill_dense, metrics
