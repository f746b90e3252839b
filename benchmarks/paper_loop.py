"""The training loop of the paper's own code, re-created for comparison: the same work in each epoch, step by step.

After `UGTs_GNN` of github.com/TienjinHuang/UGTs-LoG. What is kept although it costs time: dense features; messages
gathered and scattered edge by edge; `kthvalue(...).item()` over all scores, concatenated, in every forward; masks as
floats made from stored zeros and ones; gradients of the frozen weights, computed and summed up but never used; the
penalty on the scores, computed and multiplied by 0; evaluation with gradients recorded. What is left out: the dump of
model and optimiser to the disk after every epoch.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugts_dist.graphs.graph import Graph


class _Mask(torch.autograd.Function):
    """1 where the score reaches the threshold, else 0; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, score: Tensor, threshold: float, zeros: Tensor, ones: Tensor) -> Tensor:
        return torch.where(score < threshold, zeros, ones)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad, None, None, None


class _Conv(nn.Module):
    """X W first, then one message for each edge and self loop."""

    zeros: Tensor
    ones: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.score = nn.Parameter(torch.empty(out_channels, in_channels))
        nn.init.kaiming_uniform_(self.score, nonlinearity="relu")
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.register_buffer("zeros", torch.zeros_like(self.weight), persistent=False)
        self.register_buffer("ones", torch.ones_like(self.weight), persistent=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, threshold: float) -> Tensor:
        hidden = F.linear(x, self.weight * _Mask.apply(self.score, threshold, self.zeros, self.ones))
        source, destination = edge_index
        messages = edge_weight.view(-1, 1) * hidden.index_select(0, source)
        index = destination.view(-1, 1).expand_as(messages)
        return torch.zeros_like(hidden).scatter_add_(0, index, messages)


class PaperLoop:
    """GCN with gradual sparsity under one global threshold; `epoch` trains one step and evaluates.

    Args:
        graph: all of it in every step.
        depth: number of convolutions.
        width: width between them.
        sparsity: at the end of the ramp, which takes the first half of `epochs`.
        device: where all of it lies.
    """

    def __init__(
        self,
        graph: Graph,
        depth: int,
        width: int,
        sparsity: float,
        epochs: int,
        lr: float = 0.01,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        widths = [graph.num_features, *[width] * (depth - 1), graph.num_classes]
        self.model = nn.ModuleList(_Conv(widths[k], widths[k + 1]) for k in range(depth)).to(device)
        self.optimizer = torch.optim.AdamW(self._scores(), lr=lr, weight_decay=0.0)
        self.sparsity, self.epochs = sparsity, epochs
        self.best_valid, self.best_test = -1.0, 0.0
        self._x, self._y = graph.x.to(device), graph.y.to(device)
        edges, values = _normalised_edges(graph)
        self._edges = edges.to(device), values.to(device)
        self._train, self._valid, self._test = (
            torch.zeros(graph.num_nodes, dtype=torch.bool).index_fill_(0, nodes, True).to(device)
            for nodes in (graph.train, graph.valid, graph.test)
        )

    def epoch(self, number: int) -> None:
        """One step and one evaluation, which keeps a copy of the model where it is the best so far."""
        self._step(self.sparsity * min(1.0, number / (self.epochs / 2)))
        valid, test = self._evaluate()
        if valid > self.best_valid:
            self.best_valid, self.best_test = valid, test
            self.best_state = copy.deepcopy(self.model.state_dict())

    def _step(self, sparsity: float) -> float:
        logits = self._forward(sparsity)
        loss = F.cross_entropy(logits[self._train], self._y[self._train])
        loss = loss + 0.0 * sum(score.sigmoid().mean() for score in self._scores())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        correct = int((logits[self._train].max(1).indices == self._y[self._train]).sum())
        return loss.item() + correct

    def _evaluate(self) -> tuple[float, float]:
        predicted = self._forward(self.sparsity).max(1).indices
        valid, test = (
            int((predicted[nodes] == self._y[nodes]).sum()) / int(nodes.sum()) for nodes in (self._valid, self._test)
        )
        return valid, test

    def _forward(self, sparsity: float) -> Tensor:
        scores = torch.cat([score.detach().flatten() for score in self._scores()])
        threshold = float(scores.kthvalue(1 + round(sparsity * (scores.numel() - 1))).values.item())
        x = self._x
        for k, conv in enumerate(self.model):
            x = conv(x, *self._edges, threshold)
            if k < len(self.model) - 1:
                x = x.relu()
        return x

    def _scores(self) -> list[nn.Parameter]:
        return [conv.score for conv in self.model if isinstance(conv, _Conv)]


def _normalised_edges(graph: Graph) -> tuple[Tensor, Tensor]:
    """Edges and self loops `[2, num_edges + num_nodes]`, and D^-1/2 (A + I) D^-1/2 on them."""
    nodes = torch.arange(graph.num_nodes)
    destination = torch.cat([torch.repeat_interleave(nodes, graph.degree), nodes])
    source = torch.cat([graph.indices.long(), nodes])
    scale = (graph.degree + 1).float().rsqrt()
    return torch.stack([source, destination]), scale[source] * scale[destination]
