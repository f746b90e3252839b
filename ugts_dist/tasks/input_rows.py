"""The input of sampled batches: features of their nodes, or what the first layer makes of all neighbours' features."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.evaluation.first_layer import aggregate_features
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Aggregated, Features, Input, Rows, SparseFeatures
from ugts_dist.tasks.cached_batches import make_cache
from ugts_dist.tasks.sharded import make_exchange

_log = logging.getLogger(__name__)


class InputRows:
    """Tables with a row for each node of a graph. To make them is collective.

    Args:
        graph: where `placed` has put it.
        features: those of the run.

    Attributes:
        cache: rows of a table that is larger than the memory, if there is one.
        exchange: of rows with other hosts, if this one does not have all of them.
    """

    def __init__(self, graph: Graph, config: Config, ranks: Ranks, features: FeatureTables) -> None:
        self._device, arch = ranks.device, config.model.arch
        self._aggregated: Tensor | SparseFeatures | None = None
        if config.batch.first_layer == "exact":
            if ranks.is_main and config.log.progress:
                _log.info(f"first layer: the features of all neighbours are summed up once, {graph.num_edges:,} edges")
            self._aggregated = aggregate_features(graph, arch, ranks, config.run.spill)
        is_read = self._aggregated is None or arch == "sage"
        self._features: Tensor | SparseFeatures | None = None
        if is_read and features.is_sparse:
            # The rank's own name of its GPU: a tensor there says cuda:0 where that may say cuda.
            device = ranks.device if graph.indptr.is_cuda else graph.indptr.device
            self._features = features.on(device, ranks, config.run.spill)
        elif is_read:
            self._features = graph.x
        self.cache = make_cache(graph, config, ranks)
        self.exchange = make_exchange(graph, config, ranks)

    def of(self, nodes: Tensor, slots: Tensor | None = None, fetched: Tensor | None = None) -> Input:
        """The input of a batch with these nodes. Collective if there is an exchange and nothing is fetched.

        Args:
            slots: of their rows in the cache.
            fetched: their rows, if the exchange has fetched them.
        """
        if self.exchange is not None:
            rows = self.exchange.rows(nodes) if fetched is None else fetched
            return rows_of(rows, torch.arange(nodes.numel()), self._device)
        if slots is not None:
            assert self.cache is not None
            return rows_of(self.cache.table, slots, self._device)
        own = None if self._features is None else rows_of(self._features, nodes, self._device)
        if self._aggregated is not None:
            return Aggregated(rows_of(self._aggregated, nodes, self._device), own)
        assert own is not None
        return own


def rows_of(table: Tensor | SparseFeatures, nodes: Tensor, device: torch.device) -> Features:
    """The features of some nodes: read in place, or copied to the GPU through pinned memory."""
    if isinstance(table, SparseFeatures):
        return table.select(nodes).to(device)
    if table.device.type == device.type:
        return Rows(table, nodes)
    return table.index_select(0, nodes).pin_memory().to(device, non_blocking=True).float()
