"""Labels of nodes on one graph: classes, several labels at once, or targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ugts_dist.config import Config
from ugts_dist.config_task import TaskConfig
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.targets import Scale
from ugts_dist.models import GNN, Dropout
from ugts_dist.models.graph_level import Network
from ugts_dist.tasks.base import Batches, Measure
from ugts_dist.tasks.batches import Batch, make_batches
from ugts_dist.tasks.labels import label_task
from ugts_dist.tasks.own import check_own, make_evaluator, make_own
from ugts_dist.tasks.sharded import shared_out


class NodeTask:
    """Predicts the labels of nodes."""

    def __init__(
        self,
        graph: Graph,
        options: TaskConfig | None = None,
        device: torch.device | None = None,
        scale: Scale | None = None,
    ) -> None:
        """Raises InputError for options that do not fit the labels."""
        self._graph, self._features = graph, FeatureTables(graph)
        self._labels = label_task(
            options or TaskConfig(), graph.name, graph.y[graph.train], graph.num_classes, device, scale
        )
        self.metric = self._labels.metric

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError if a rank would have no seed node in some step, and for an own network that does not fit."""
        graph = self._graph
        self._labels.check(graph.name, {"valid": graph.y[graph.valid], "test": graph.y[graph.test]})
        if config.model.factory:
            check_own(config, graph, ranks)
        if config.batch.size:
            SeedPlan(graph.train, config.batch.size, config.run.seed, ranks.rank, ranks.world_size)
        elif graph.train.numel() < ranks.world_size:
            raise InputError(
                f"{graph.name}: {graph.train.numel()} training nodes for {ranks.world_size} ranks, "
                "allowed are at most as many ranks as training nodes"
            )

    def network(self, config: Config) -> Network:
        return make_own(config, self._graph) if config.model.factory else build_model(config, self._graph)

    def batches(self, config: Config, ranks: Ranks) -> Batches[Batch]:
        graph, ranks = shared_out(self._graph, config, ranks)
        return make_batches(graph, config, ranks, self._features_of(graph))

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        graph, ranks = shared_out(self._graph, config, ranks)
        labels, features = self._labels, self._features_of(graph)
        return make_evaluator(graph, config, ranks, labels.metric_name, labels.decode, features)

    def _features_of(self, graph: Graph) -> FeatureTables:
        """The features of the task's graph, or of a graph that has a share of them."""
        return self._features if graph is self._graph else FeatureTables(graph)

    def labels_json(self) -> dict[str, Any]:
        return {} if self._labels.kind == "classification" else self._labels.to_json()

    def forward(self, network: nn.Module, batch: Batch, dropout: Dropout | None = None) -> Tensor:
        """Outputs of the seed nodes, `[num_seeds, num_classes]`."""
        logits: Tensor = network(batch.x, batch.blocks, dropout)
        return batch.of_seeds(logits)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return self._labels.loss(logits, batch.y) / batch.num_seeds_of_all


def build_model(config: Config, graph: Graph) -> GNN:
    """The plain dense network. PyG's own initialisation draws its weights from the run's seed."""
    torch.manual_seed(config.weight_seed)
    return GNN.of(config.model, graph.num_features, graph.num_classes)
