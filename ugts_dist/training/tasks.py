"""Tasks: network, batches, loss and metric for node or graph labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs import molecules
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.models import GNN, Dropout
from ugts_dist.models.graph_level import Network
from ugts_dist.training.batches import Batch, make_batches
from ugts_dist.training.graph_tasks import GraphTask
from ugts_dist.training.placement import evaluation_device


class Step(Protocol):
    """One step's input on this rank: the number of the step, counted over all epochs, and the id of each node."""

    step: int
    nodes: Tensor


B = TypeVar("B", bound=Step)
B_co = TypeVar("B_co", bound=Step, covariant=True)


class Batches(Protocol[B_co]):
    """The batches of a run on this rank. Every rank has the same number in each epoch."""

    steps_per_epoch: int

    def epoch(self, number: int, first_step: int = 0) -> Iterator[B_co]:
        """The batches of one epoch, from its `first_step`-th step on."""
        ...

    def calibration_batch(self) -> B_co:
        """A batch that is the same on every rank and for every world size."""
        ...


class Measure(Protocol):
    """The metric on the validation and test data. Each item is counted exactly once for any world size."""

    def measure(self, model: Any, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, `valid` and `test`, and the sum over ranks of `loss`."""
        ...


class Task(Protocol[B]):
    """One kind of data with its network, batches, loss and metric.

    Attributes:
        metric: its name, to show; higher is better.
    """

    metric: str

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError for a configuration that does not fit the data."""
        ...

    def network(self, config: Config) -> Network:
        """The plain dense network."""
        ...

    def batches(self, config: Config, ranks: Ranks) -> Batches[B]:
        """The training batches of this rank."""
        ...

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        """The evaluation of the network."""
        ...

    def forward(self, network: nn.Module, batch: B, dropout: Dropout | None = None) -> Tensor:
        """The logits of a batch."""
        ...

    def loss(self, logits: Tensor, batch: B) -> Tensor:
        """This rank's part of the step's mean loss. The sum over ranks is the mean over all items of the step."""
        ...


class NodeTask:
    """Node classification on one graph."""

    metric = "accuracy"

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError if a rank would have no seed node in some step."""
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
    """The task of a dataset."""
    return GraphTask(data) if isinstance(data, GraphSet) else NodeTask(data)


def metric_of(config: Config) -> str:
    """The name of the metric for the configured data."""
    return GraphTask.metric if config.data.name in molecules.FOLDERS else NodeTask.metric


def build_model(config: Config, graph: Graph) -> GNN:
    """The plain dense network. PyG's own initialisation draws its weights from the run's seed."""
    torch.manual_seed(config.weight_seed)
    return GNN.of(config.model, graph.num_features, graph.num_classes)
