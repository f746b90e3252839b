"""Exact evaluation of an own network: the whole graph at once, or all neighbours of some nodes at a time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator, OnLayer
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import Block, Hops, OwnNetwork
from ugts_dist.models.own import check_trial

_WHOLE_NODES, _WHOLE_EDGES = 100_000, 2_000_000  # larger graphs are evaluated in parts
_PART_EDGES = 2_000_000
_PART_NODES = 4096

_log = logging.getLogger(__name__)


def fits_whole(graph: Graph) -> bool:
    """Whether the graph is so small that one forward pass over all of it takes little memory."""
    return graph.num_nodes <= _WHOLE_NODES and graph.num_edges <= _WHOLE_EDGES


class OwnEvaluator(Evaluator):
    """Accuracy on the validation and test nodes. Each is counted exactly once for any world size."""

    def __init__(self, graph: Graph, ranks: Ranks, device: torch.device, whole: bool) -> None:
        """`whole`: one forward pass over the whole graph, on every rank."""
        super().__init__(graph, ranks, device)
        self._whole = whole

    @torch.no_grad()
    def outputs(self, model: OwnNetwork, on_layer: OnLayer | None = None) -> Iterator[Tensor]:  # type: ignore[override]
        """Logits of this rank's nodes in order, part by part: `[rows, num_classes]`."""
        if self._device != self._ranks.device:
            model = copy.deepcopy(model).to(self._device)
        if self._whole:
            x = self._graph.x.to(self._device).float()
            block = graph_block(self._graph, self._device)
            yield model(x, Hops([block] * model.depth))[self._start : self._stop]
            return
        check_trial(model.origin.factory, model.trial, model.depth, in_parts=True)
        for nodes in torch.arange(self._start, self._stop).split(_PART_NODES):
            yield from self._of_part(model, nodes)

    def _of_part(self, model: OwnNetwork, nodes: Tensor) -> Iterator[Tensor]:
        """Logits of some nodes, which are cut into halves until their neighbourhood has a bounded size."""
        graph = self._graph
        # A hop more than layers: so the outermost nodes that are read have their exact degrees.
        num_hops = model.depth if model.trial.whole.is_bipartite else model.depth + 1
        sample = NeighborSampler(graph.indptr, graph.indices, [-1] * num_hops, seed=0).sample(0, nodes)
        if nodes.numel() > 1 and sum(hop.indices.numel() for hop in sample.hops) > _PART_EDGES:
            for half in nodes.chunk(2):
                yield from self._of_part(model, half)
            return
        degree = graph.degree[sample.nodes]
        blocks = [Block(hop.indptr, hop.indices, degree[: hop.num_src]) for hop in reversed(sample.hops)]
        yield model(graph.x[sample.nodes].to(self._device).float(), Hops(self._on_device(block) for block in blocks))

    def _on_device(self, block: Block) -> Block:
        return Block(block.indptr.to(self._device), block.indices.to(self._device), block.degree.to(self._device))
