"""Exact evaluation of an own network: the whole graph at once, or all neighbours of some nodes at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ugts_dist.evaluation.evaluator import Evaluator, OnLayer
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sampling import Hop, NeighborSampler
from ugts_dist.models import Block, Hops, OwnNetwork
from ugts_dist.models.own import check_trial

_WHOLE_NODES, _WHOLE_EDGES = 100_000, 2_000_000  # larger graphs are evaluated in parts
_PART_EDGES = 2_000_000
_PART_NODES = 4096


def fits_whole(graph: Graph) -> bool:
    """Whether the graph is so small that one forward pass over all of it takes little memory."""
    return graph.num_nodes <= _WHOLE_NODES and graph.num_edges <= _WHOLE_EDGES


class OwnEvaluator(Evaluator):
    """A metric on the validation and test nodes. Each is counted exactly once for any world size.

    Args:
        whole: one forward pass over the whole graph, on every rank.
    """

    def __init__(self, *args: Any, whole: bool, **options: Any) -> None:
        super().__init__(*args, **options)
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
        sampler = NeighborSampler(graph.indptr, graph.indices, [-1] * num_hops, 0, graph.has_edge_data)
        sample = sampler.sample(0, nodes)
        if nodes.numel() > 1 and sum(hop.indices.numel() for hop in sample.hops) > _PART_EDGES:
            for half in nodes.chunk(2):
                yield from self._of_part(model, half)
            return
        hops = Hops(self._block_of(hop) for hop in reversed(sample.hops))
        yield model(graph.x[sample.nodes].to(self._device).float(), hops)

    def _block_of(self, hop: Hop) -> Block:
        """The edges of a hop, on the device for evaluations. Own networks count degrees themselves."""
        weight, attr = (
            None if values is None else values[hop.edges].to(self._device)
            for values in (self._graph.edge_weight, self._graph.edge_attr)
        )
        indptr, indices = hop.indptr.to(self._device), hop.indices.to(self._device)
        return Block(indptr, indices, indices.new_zeros(hop.num_src), weight=weight, attr=attr)
