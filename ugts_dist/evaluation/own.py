"""Exact evaluation of an own network: the whole graph at once, layer by layer, or some nodes at a time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ugts_dist.evaluation.evaluator import Evaluator, OnLayer
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sample import Hop, Sample
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import Block, Hops, OwnNetwork
from ugts_dist.models.own import check_trial
from ugts_dist.models.own_forward import layer_output

_log = logging.getLogger(__name__)

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
        says: whether the main rank prints how it evaluates.
    """

    def __init__(self, *args: Any, whole: bool, says: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self._whole, self._says = whole, says

    @torch.no_grad()
    def outputs(self, model: OwnNetwork, on_layer: OnLayer | None = None) -> Iterator[Tensor]:  # type: ignore[override]
        """Logits of this rank's nodes in order, part by part: `[rows, num_classes]`. Collective until the first."""
        if self._device != self._ranks.device:
            model = copy.deepcopy(model).to(self._device)
        model.network.eval()
        if self._whole:
            self._say("one forward pass over the whole graph")
            x = self._all_features().to(self._device).float()
            block = graph_block(self._graph, self._device)
            yield model(x, Hops([block] * model.depth))[self._start : self._stop]
            return
        check_trial(model.origin.factory, model.trial, model.depth, in_parts=True)
        if model.trial.layer_hops:
            self._say("layer by layer")
            yield from self._by_layers(model)
            return
        # A hop more than layers: so the outermost nodes that are read have their exact degrees.
        num_hops = model.depth if model.trial.whole.is_bipartite else model.depth + 1
        self._say(f"all neighbours of some nodes at a time, {num_hops} hops")
        table = self._all_features()
        for sample in self._parts(num_hops):
            yield model(table[sample.nodes.to(table.device)].to(self._device).float(), self._hops(sample))

    def _by_layers(self, model: OwnNetwork) -> Iterator[Tensor]:
        """Logits of this rank's nodes; each layer's outputs of all nodes are kept until the next one is complete."""
        table = self._all_features()
        for layer in range(model.depth - 1):
            (table,) = self._filled((out,) for out in self._of_layer(model, layer, table))
        yield from self._of_layer(model, model.depth - 1, table)

    def _all_features(self) -> Tensor:
        """The features of all nodes. Collective."""
        return self._graph.x if self._graph.share is None else self._copied_features()

    def _of_layer(self, model: OwnNetwork, layer: int, table: Tensor) -> Iterator[Tensor]:
        """Outputs of one layer for this rank's nodes, from its inputs of all nodes."""
        for sample in self._parts(model.trial.layer_hops):
            x = table[sample.nodes.to(table.device)].to(self._device).float()
            yield layer_output(model.network, layer, x, self._hops(sample))

    def _parts(self, num_hops: int) -> Iterator[Sample]:
        """This rank's nodes in order, with all neighbours within some hops."""
        graph = self._graph
        sampler = NeighborSampler(graph.indptr, graph.indices, [-1] * num_hops, 0, graph.has_edge_data)
        waiting = list(torch.arange(self._start, self._stop).split(_PART_NODES))[::-1]
        while waiting:
            nodes = waiting.pop()
            sample = sampler.sample(0, nodes)
            if nodes.numel() > 1 and sum(hop.indices.numel() for hop in sample.hops) > _PART_EDGES:
                waiting += list(nodes.chunk(2))[::-1]  # until the neighbourhood has a bounded size
            else:
                yield sample

    def _hops(self, sample: Sample) -> Hops:
        return Hops(self._block_of(hop) for hop in reversed(sample.hops))

    def _say(self, how: str) -> None:
        """Print once how the network is evaluated."""
        if self._says and self._ranks.is_main:
            _log.info(f"evaluation: {how}")
        self._says = False

    def _block_of(self, hop: Hop) -> Block:
        """The edges of a hop, on the device for evaluations. Own networks count degrees themselves."""
        weight, attr = (
            None if values is None else values[hop.edges].to(self._device)
            for values in (self._graph.edge_weight, self._graph.edge_attr)
        )
        indptr, indices = hop.indptr.to(self._device), hop.indices.to(self._device)
        return Block(indptr, indices, indices.new_zeros(hop.num_src), weight=weight, attr=attr)
