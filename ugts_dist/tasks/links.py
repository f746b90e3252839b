"""Link prediction on one graph: which pairs of nodes have an edge. It needs no label."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.evaluation.link_scores import num_hits
from ugts_dist.evaluation.links import LinkEvaluator
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.link_split import link_split
from ugts_dist.metrics import DEFAULTS, METRICS
from ugts_dist.models import GNN, Dropout
from ugts_dist.models.graph_level import Network
from ugts_dist.tasks.base import Batches, Measure
from ugts_dist.tasks.link_batches import LinkBatch, make_link_batches, pair_plan
from ugts_dist.tasks.own import check_own, evaluator_on, make_own
from ugts_dist.tasks.placement import evaluation_device


class LinkTask:
    """Predicts edges. The logit of a pair of nodes is the dot product of their embeddings."""

    def __init__(self, graph: Graph, config: Config) -> None:
        """Hold out edges. Raises InputError for options that do not fit link prediction or the graph."""
        _check(config)
        options = config.task
        self._graph, self._number, self._features = graph, config.data.split, FeatureTables(graph)
        self._split = link_split(graph, options.valid_edges, options.test_edges, self._number)
        self._metric = DEFAULTS["link"] if options.metric == "auto" else options.metric
        self.metric = METRICS[self._metric]
        fewest = min(part.negatives.shape[1] for part in (self._split.valid, self._split.test))
        if num_hits(self._metric) > fewest:
            raise InputError(
                f"task.metric is {self._metric}, allowed is a K of at most {fewest}, the number of pairs without an "
                f"edge that are measured on {graph.name}; or larger task.valid_edges and task.test_edges"
            )

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError if a rank would have no pair in some step, and for an own network that does not fit."""
        if config.model.factory:
            check_own(config, self._graph, ranks)
        pair_plan(self._split, config, ranks)

    def network(self, config: Config) -> Network:
        """The plain dense network. PyG's own initialisation draws its weights from the run's seed."""
        if config.model.factory:
            return make_own(config, self._graph)
        torch.manual_seed(config.weight_seed)
        return GNN.of(config.model, self._graph.num_features, config.task.embedding)

    def batches(self, config: Config, ranks: Ranks) -> Batches[LinkBatch]:
        return make_link_batches(self._split, config, ranks, self._features)

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        device = evaluation_device(self._graph, config, ranks, self._features)

        def make(graph: Graph, part: str) -> Evaluator:
            says = config.log.progress and part == "valid"  # how an own network is evaluated: in one line for both
            settings = config.replace({"log.progress": says})
            return evaluator_on(device, graph, settings, ranks, self._metric, features=self._features)

        return LinkEvaluator(self._graph.name, self._split, self._number, ranks, device, self._metric, make)

    def labels_json(self) -> dict[str, Any]:
        return {"kind": "link"}

    def forward(self, network: nn.Module, batch: LinkBatch, dropout: Dropout | None = None) -> Tensor:
        """Logits of the pairs, `[num_pairs]`."""
        embeddings: Tensor = network(batch.x, batch.blocks, dropout)
        source, destination = batch.pairs
        return (embeddings[source] * embeddings[destination]).sum(1)

    def loss(self, logits: Tensor, batch: LinkBatch) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, batch.y, reduction="sum") / batch.num_pairs_of_all


def _check(config: Config) -> None:
    """Raise InputError for settings of other tasks."""
    config.task.require_metric_fits("link")
    for field in ("left_out", "feature_noise", "edge_noise"):
        if value := getattr(config.data, field):
            raise InputError(f"data.{field} is {value}, allowed is 0, as task.kind is link")
    if config.batch.micro_batches != 1:
        raise InputError(f"batch.micro_batches is {config.batch.micro_batches}, allowed is 1, as task.kind is link")
