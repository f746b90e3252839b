"""What is learnt from which data: all that the loop leaves open. Labels of nodes, or of whole graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import with_digests
from ugts_dist.graphs.files import within_memory
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.perturb import Unknown, edge_noise, feature_noise, left_out_classes
from ugts_dist.graphs.standardize import standardized
from ugts_dist.models import Dropout
from ugts_dist.training.batches import Batch, make_batches
from ugts_dist.training.evaluate import Evaluator
from ugts_dist.training.methods import Network, build_model
from ugts_dist.training.molecules import GraphTask
from ugts_dist.training.placement import evaluation_device

Data = Graph | GraphSet


class Step(Protocol):
    """One step's input on this rank: its number, counted through all epochs, and the id of each node."""

    step: int
    nodes: Tensor


B = TypeVar("B", bound=Step)
B_co = TypeVar("B_co", bound=Step, covariant=True)


class Batches(Protocol[B_co]):
    """The batches of a run on this rank; as many in each epoch on every rank."""

    steps_per_epoch: int

    def epoch(self, number: int, first_step: int = 0) -> Iterator[B_co]:
        """The batches of one epoch, from its `first_step`-th step on."""
        ...

    def calibration_batch(self) -> B_co:
        """A batch that is the same on every rank and for every world size."""
        ...


class Measure(Protocol):
    """The metric on the validation and test data, each item counted exactly once whatever the world size."""

    def measure(self, model: Any, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, `valid` and `test`, and the sum over ranks of `loss`."""
        ...


class Task(Protocol[B]):
    """One kind of data with its network, batches, loss and metric.

    Attributes:
        metric: its name, for people; more of it is better.
    """

    metric: str

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raises InputError for a configuration that does not fit the data."""
        ...

    def network(self, config: Config) -> Network:
        """The plain dense network."""
        ...

    def batches(self, config: Config, ranks: Ranks) -> Batches[B]:
        """What this rank trains on."""
        ...

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        """What judges the network."""
        ...

    def forward(self, network: nn.Module, batch: B, dropout: Dropout | None = None) -> Tensor:
        """The logits of a batch."""
        ...

    def loss(self, logits: Tensor, batch: B) -> Tensor:
        """This rank's part of the step's mean loss: the sum over ranks is the mean over all items of the step."""
        ...


class NodeTask:
    """One class for each node of one graph."""

    metric = "accuracy"

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raises InputError where a rank would have no seed node in some step."""
        graph = self._graph
        if config.batch.size:
            SeedPlan(graph.train, config.batch.size, config.run.seed, ranks.rank, ranks.world_size)
        elif graph.train.numel() < ranks.world_size:
            raise InputError(
                f"{graph.name}: {graph.train.numel()} training nodes for {ranks.world_size} ranks, "
                "allowed are at most as many ranks as training nodes"
            )

    def network(self, config: Config) -> Network:
        return build_model(config, self._graph)

    def batches(self, config: Config, ranks: Ranks) -> Batches[Batch]:
        return make_batches(self._graph, config, ranks)

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        device = evaluation_device(self._graph, config, ranks)
        return Evaluator(self._graph, ranks, device, config.run.spill)

    def forward(self, network: nn.Module, batch: Batch, dropout: Dropout | None = None) -> Tensor:
        """Logits of the seed nodes, `[num_seeds, num_classes]`."""
        logits: Tensor = network(batch.x, batch.blocks, dropout)
        return logits[batch.rows]

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.y, reduction="sum") / batch.num_seeds_of_all


def make_task(data: Data) -> Task[Any]:
    """The task that the data is for."""
    return GraphTask(data) if isinstance(data, GraphSet) else NodeTask(data)


def load_data(config: Config) -> Data:
    """The data that the configuration names. Raises InputError."""
    data = config.data
    if data.name in molecules.FOLDERS:
        for field in ("standardize", "feature_noise", "edge_noise", "left_out"):
            if value := getattr(data, field):
                allowed = f"{False if value is True else 0} for {data.name}, whose labels are of whole graphs"
                raise InputError(f"data.{field} is {value}, allowed is {allowed}")
        with within_memory(f"data.name: {data.name}"):
            return molecules.load(data.name, data.root or None, data.split)
    return load_graph(config)


def load_graph(config: Config) -> Graph:
    """The graph that the configuration names, with the noise and without the classes it asks for. Raises InputError."""
    return load_open_graph(config)[0]


def load_open_graph(config: Config) -> tuple[Graph, Unknown | None]:
    """The same, and what is left out of it, if anything is."""
    graph, unknown = disturbed(load_undisturbed(config), config)
    return _scaled(graph, config), unknown


def load_undisturbed(config: Config) -> Graph:
    """The graph as its files have it. Raises InputError."""
    data = config.data
    with within_memory(f"data.name: {data.name}"):
        return catalogue.load(data.name, data.root or None, data.split, data.row_normalize)


def disturbed(graph: Graph, config: Config) -> tuple[Graph, Unknown | None]:
    """A graph with the noise and without the classes that the configuration asks for, and what is left out of it.

    All of it is drawn from the run's seed. Raises InputError.
    """
    data, seed, unknown = config.data, config.run.seed, None
    with within_memory(f"data.name: {data.name}"):
        if data.left_out:
            graph, unknown = left_out_classes(graph, data.left_out, seed)
        if data.feature_noise:
            graph = feature_noise(graph, data.feature_noise, seed)
        if data.edge_noise:
            graph = edge_noise(graph, data.edge_noise, seed)
    return graph, unknown


def _scaled(graph: Graph, config: Config) -> Graph:
    """The graph with its features as the configuration scales them; its checksum stays that of the data as they are."""
    if not config.data.standardize:
        return graph
    with within_memory(f"data.standardize: {config.data.name}"):
        return replace(with_digests(graph), x=standardized(graph.x))


def metric_of(config: Config) -> str:
    """The name of the metric that the configured data is judged by."""
    return GraphTask.metric if config.data.name in molecules.FOLDERS else NodeTask.metric
