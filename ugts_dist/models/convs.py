"""PyG's layers, computed on a `Block` by sparse products. Parameters, names and results are PyG's own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from ugts_dist.models.block import Block
from ugts_dist.models.sparse import Features, Pattern, SparseFeatures, linear, sparse_product


@runtime_checkable
class Conv(Protocol):
    """A layer that can be calibrated."""

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output is to have unit scale, in order, and the weights of this layer that scale it."""
        ...


class GCNConv(pyg.GCNConv):
    """Graph convolution (Kipf and Welling 2017): `[num_src, in]` -> `[num_dst, out]`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, bias=False)

    def forward(self, x: Features, block: Block) -> Tensor:
        return _aggregate_linear(x, self.lin.weight, block.looped[0], block.gcn_values)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self: ["lin.weight"]}


class SAGEConv(pyg.SAGEConv):
    """GraphSAGE with mean aggregation (Hamilton et al. 2017): `[num_src, in]` -> `[num_dst, out]`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, bias=False)

    def forward(self, x: Features, block: Block) -> Tensor:
        neighbours = _aggregate_linear(x, self.lin_l.weight, block.pattern, block.mean_values)
        return neighbours + _linear_of_destinations(x, self.lin_r.weight, block)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self: ["lin_l.weight", "lin_r.weight"]}


class GINConv(pyg.GINConv):
    """Graph isomorphism layer (Xu et al. 2019), eps 0, MLP of two linears: `[num_src, in]` -> `[num_dst, out]`."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        mlp = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, out_channels, bias=False)
        )
        super().__init__(mlp, train_eps=False)
        self.first = nn.Identity()

    def forward(self, x: Features, block: Block) -> Tensor:
        first, activation, second = self.nn
        hidden = _aggregate_linear(x, first.weight, block.looped[0], block.sum_and_self_values)
        return second(activation(self.first(hidden)))

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self.first: ["nn.0.weight"], self: ["nn.2.weight"]}


class PaperGINConv(pyg.GINConv):
    """The paper's own GIN layer: mean instead of sum, one linear instead of an MLP."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.Linear(in_channels, out_channels, bias=False), train_eps=False, aggr="mean")

    def forward(self, x: Features, block: Block) -> Tensor:
        return _aggregate_linear(x, self.nn.weight, block.looped[0], block.mean_and_self_values)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self: ["nn.weight"]}


class GATConv(pyg.GATConv):
    """Graph attention (Velickovic et al. 2018): `[num_src, in]` -> `[num_dst, heads * out]`, or the heads' mean."""

    def __init__(self, in_channels: int, out_channels: int, heads: int, concat: bool) -> None:
        super().__init__(in_channels, out_channels, heads, concat, bias=False)
        self.transformed, self.source, self.target = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x: Features, block: Block) -> Tensor:
        hidden = self.transformed(linear(x, self.lin.weight))
        per_head = hidden.view(-1, self.heads, self.out_channels)
        pattern, _ = block.looped
        source = self.source((per_head * self.att_src).sum(-1))
        target = block.destinations(self.target((per_head * self.att_dst).sum(-1)))
        logits = F.leaky_relu(source[pattern.indices] + target[pattern.rows], self.negative_slope)
        attention = _softmax_by_row(logits, pattern)
        out = [sparse_product(pattern, attention[:, h], per_head[:, h]) for h in range(self.heads)]
        if self.heads == 1:
            return out[0]
        return torch.cat(out, dim=1) if self.concat else torch.stack(out).mean(0)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        # Measured before the attention, which the weight does not enter linearly.
        return {self.transformed: ["lin.weight"], self.source: ["att_src"], self.target: ["att_dst"]}


def _aggregate_linear(x: Features, weight: Tensor, pattern: Pattern, values: Tensor) -> Tensor:
    """Aggregation and linear map in the order that costs less: sampled blocks have far fewer rows than columns."""
    if isinstance(x, SparseFeatures):
        return sparse_product(pattern, values, linear(x, weight))
    width_out, width_in = weight.shape
    entries = pattern.indices.numel()
    linear_first = (pattern.num_cols * width_in + entries) * width_out
    aggregate_first = (pattern.num_rows * width_out + entries) * width_in
    if linear_first <= aggregate_first:
        return sparse_product(pattern, values, F.linear(x, weight))
    return F.linear(sparse_product(pattern, values, x), weight)


def _linear_of_destinations(x: Features, weight: Tensor, block: Block) -> Tensor:
    if isinstance(x, SparseFeatures):
        return block.destinations(linear(x, weight))
    return F.linear(block.destinations(x), weight)


def _softmax_by_row(logits: Tensor, pattern: Pattern) -> Tensor:
    """Softmax over the entries of each row; logits `[num_entries, heads]`."""
    rows = pattern.rows[:, None].expand_as(logits)
    shape = (pattern.num_rows, logits.shape[1])
    highest = logits.new_full(shape, -torch.inf).scatter_reduce(0, rows, logits.detach(), "amax")
    exponential = (logits - highest[pattern.rows]).exp()
    total = logits.new_zeros(shape).index_add(0, pattern.rows, exponential)
    return exponential / total[pattern.rows]
