"""Exact evaluation: all nodes, all neighbours, layer by layer; the ranks share the nodes of each layer."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph
from ugts_dist.models import GNN, Features
from ugts_dist.training.batches import full_features, graph_block
from ugts_dist.training.ranks import Ranks


class Evaluator:
    """Accuracy on the validation and test nodes, each counted exactly once whatever the world size."""

    def __init__(self, graph: Graph, ranks: Ranks) -> None:
        self._ranks = ranks
        self._num_nodes = graph.num_nodes
        self._start, self._stop = ranks.share(graph.num_nodes)
        self._block = graph_block(graph, ranks.device, self._start, self._stop)
        self._x = full_features(graph, ranks.device)
        self._y = graph.y[self._start : self._stop].to(ranks.device)
        self._split = {
            name: self._own(nodes).to(ranks.device) for name, nodes in (("valid", graph.valid), ("test", graph.test))
        }
        self._sizes = {"valid": graph.valid.numel(), "test": graph.test.numel()}

    def measure(self, model: GNN, loss: Tensor) -> tuple[dict[str, float], float]:
        """Accuracy by split, and the sum over ranks of `loss`; one reduction and one wait for both."""
        correct = self.logits(model).argmax(1) == self._y
        counts = torch.stack([correct[rows].sum() for rows in self._split.values()])
        total = self._ranks.sum(torch.cat([counts.double(), loss.double().reshape(1)])).tolist()
        return {name: total[i] / self._sizes[name] for i, name in enumerate(self._split)}, total[-1]

    @torch.no_grad()
    def logits(self, model: GNN) -> Tensor:
        """Logits of this rank's nodes, `[stop - start, num_classes]`."""
        x: Features = self._x
        for k in range(model.depth):
            out = model.layer(k, x, self._block)
            x = out if k == model.depth - 1 else self._ranks.concatenate(out, self._num_nodes)
        return out

    def _own(self, nodes: Tensor) -> Tensor:
        """Which of this rank's rows are among `nodes`."""
        return nodes[(nodes >= self._start) & (nodes < self._stop)] - self._start
