"""PyG's layers on a `Block`, computed by sparse products. Parameters, names and results are those of PyG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from ugts_dist.config_batch import SUMMING
from ugts_dist.models.aggregation import (
    Incoming,
    Messages,
    Summed,
    aggregate,
    aggregate_and_destinations,
    aggregate_linear,
    aggregated,
    linear_first,
    linear_of_destinations,
    mixed,
    narrowed,
    softmax_by_row,
)
from ugts_dist.models.block import Block
from ugts_dist.models.first_layer import Aggregated, Input
from ugts_dist.models.sparse import (
    Features,
    Pattern,
    Rows,
    SparseFeatures,
    linear,
    sparse_product,
)


def prepare(arch: str, x: Input, blocks: Sequence[Block], linear_before: bool = False) -> None:
    """Compute what the layers of an architecture, and their gradients, need of a batch; the block caches it.

    Layers of other architectures than the built-in ones compute it themselves.

    `linear_before`: whether a linear layer comes before the first convolution.
    """
    for part in x.parts() if isinstance(x, Aggregated) else (x,):
        if isinstance(part, SparseFeatures):
            _ = part.pattern.transposed
    # Features have no gradient, and so their aggregation needs no transposed edges, unless a linear map comes first.
    first_needs = arch == "gat" or isinstance(x, SparseFeatures | Aggregated) or linear_before
    if arch not in ("gat", *SUMMING):
        return
    for k, block in enumerate(blocks):
        pattern = block.looped[0] if arch == "gat" else edges_of(arch, block)[0]
        if arch == "gat":
            _ = pattern.rows
        if k > 0 or first_needs:
            _ = pattern.transposed


def edges_of(arch: str, block: Block) -> tuple[Pattern, Tensor]:
    """The edges of a layer with a fixed value each."""
    match arch:
        case "gcn":
            return block.looped[0], block.gcn_values
        case "sage":
            return block.pattern, block.mean_values
        case "gin":
            return block.looped[0], block.sum_and_self_values
        case "gin-paper":
            return block.looped[0], block.mean_and_self_values
    raise ValueError(f"{arch!r} has no fixed values")


def _needed(block: Block | None) -> Block:
    """The block, which only a layer with `Aggregated` input lacks."""
    assert block is not None
    return block


@runtime_checkable
class Conv(Protocol):
    """A layer in two halves: messages, computed once per node, and their aggregation.

    `forward` does both for one block and orders linear map and aggregation by cost; of `Aggregated` input, for which
    there is no block, it does the rest. An evaluation of a whole graph calls the halves separately, chunk by chunk.
    """

    def messages(self, x: Features) -> Messages:
        """Messages of each node: `[num_nodes, in]` -> one or more tables `[num_nodes, ...]`.

        The table is `x` itself if the linear map follows the aggregation.
        """
        ...

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        """Aggregate the messages of the block's sources: tables -> `[num_dst, out]`."""
        ...

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output calibration scales to 1, in order, and the weights of this layer that scale it."""
        ...


class GCNConv(pyg.GCNConv):
    """Graph convolution (Kipf and Welling 2017): `[num_src, in]` -> `[num_dst, out]`.

    Args:
        mixing: weight b of the linear map in (1 - b) h + b W h (GCNII's identity mapping). Below 1 only if input and
            output have the same width.
    """

    def __init__(self, in_channels: int, out_channels: int, mixing: float = 1.0) -> None:
        super().__init__(in_channels, out_channels, bias=False)
        self.mixing, self.mapped = mixing, nn.Identity()

    def forward(self, x: Input, block: Block | None = None) -> Tensor:
        if isinstance(x, Aggregated):
            return self._map(x.neighbours, self.lin.weight)
        block = _needed(block)
        return aggregate_linear(x, self.lin.weight, block.looped[0], block.gcn_values, self._map)

    def messages(self, x: Features) -> Messages:
        return narrowed(x, self.lin.weight)

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        return aggregated(messages, self.lin.weight, block.looped[0], block.gcn_values, self._map)

    def _map(self, x: Features, weight: Tensor) -> Tensor:
        return mixed(x, self.mapped(linear(x, weight)), self.mixing)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        # In a mixture only the map is measured, since calibration needs an output that is linear in the weight.
        return {self if self.mixing == 1.0 else self.mapped: ["lin.weight"]}


class SAGEConv(pyg.SAGEConv):
    """GraphSAGE with mean aggregation (Hamilton et al. 2017): `[num_src, in]` -> `[num_dst, out]`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, bias=False)

    def forward(self, x: Input, block: Block | None = None) -> Tensor:
        if isinstance(x, Aggregated):
            assert x.own is not None
            return self._sum(x.neighbours, x.own)
        block = _needed(block)
        if linear_first(x, self.lin_l.weight, block.pattern):
            neighbours = sparse_product(block.pattern, block.mean_values, linear(x, self.lin_l.weight))
            return neighbours + linear_of_destinations(x, self.lin_r.weight, block)
        assert not isinstance(x, SparseFeatures)
        return self._aggregate_first(x, block)

    def messages(self, x: Features) -> Messages:
        left = narrowed(x, self.lin_l.weight)
        return left if left[0] is x else (*left, linear(x, self.lin_r.weight))

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        table = messages[0]
        assert not isinstance(table, SparseFeatures)
        if len(messages) == 1:
            return self._aggregate_first(table, block)
        own = messages[1]
        assert isinstance(own, Tensor)
        return aggregate(block.pattern, block.mean_values, table) + block.destinations(own)

    def _aggregate_first(self, x: Tensor | Rows | Summed, block: Block) -> Tensor:
        return self._sum(*aggregate_and_destinations(block.pattern, block.mean_values, x, block))

    def _sum(self, neighbours: Features, own: Features) -> Tensor:
        out = linear(own, self.lin_r.weight)
        if isinstance(neighbours, SparseFeatures):
            return out + linear(neighbours, self.lin_l.weight)
        neighbours = neighbours.gather() if isinstance(neighbours, Rows) else neighbours
        # Added in place: no third tensor of this size.
        return out.addmm_(neighbours.to(out.dtype), self.lin_l.weight.t().to(out.dtype))

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

    def forward(self, x: Input, block: Block | None = None) -> Tensor:
        if isinstance(x, Aggregated):
            return self._rest(linear(x.neighbours, self.nn[0].weight))
        block = _needed(block)
        return self._rest(aggregate_linear(x, self.nn[0].weight, block.looped[0], block.sum_and_self_values))

    def messages(self, x: Features) -> Messages:
        return narrowed(x, self.nn[0].weight)

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        return self._rest(aggregated(messages, self.nn[0].weight, block.looped[0], block.sum_and_self_values))

    def _rest(self, hidden: Tensor) -> Tensor:
        _, activation, second = self.nn
        return second(activation(self.first(hidden)))

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self.first: ["nn.0.weight"], self: ["nn.2.weight"]}


class PaperGINConv(pyg.GINConv):
    """The paper's own GIN layer: mean instead of sum, one linear instead of an MLP."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.Linear(in_channels, out_channels, bias=False), train_eps=False, aggr="mean")

    def forward(self, x: Input, block: Block | None = None) -> Tensor:
        if isinstance(x, Aggregated):
            return linear(x.neighbours, self.nn.weight)
        block = _needed(block)
        return aggregate_linear(x, self.nn.weight, block.looped[0], block.mean_and_self_values)

    def messages(self, x: Features) -> Messages:
        return narrowed(x, self.nn.weight)

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        return aggregated(messages, self.nn.weight, block.looped[0], block.mean_and_self_values)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        return {self: ["nn.weight"]}


class GATConv(pyg.GATConv):
    """Graph attention (Velickovic et al. 2018): `[num_src, in]` -> `[num_dst, heads * out]`, or the heads' mean.

    `mixing` as in `GCNConv`; below 1 only with concatenated heads.
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int, concat: bool, mixing: float = 1.0) -> None:
        super().__init__(in_channels, out_channels, heads, concat, bias=False)
        self.mixing = mixing
        self.transformed, self.source, self.target = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x: Features, block: Block) -> Tensor:
        return self.aggregate_messages(self.messages(x), block)

    def messages(self, x: Features) -> Messages:
        """The transformed features of each head `[num_nodes, out]`, then both halves of the attention logits."""
        hidden = mixed(x, self.transformed(linear(x, self.lin.weight)), self.mixing)
        per_head = hidden.view(-1, self.heads, self.out_channels)
        source = self.source((per_head * self.att_src).sum(-1))
        target = self.target((per_head * self.att_dst).sum(-1))
        return (*per_head.unbind(1), source, target)

    def aggregate_messages(self, messages: Incoming, block: Block) -> Tensor:
        *heads, source, target = cast(tuple[Tensor, ...], messages)
        pattern, _ = block.looped
        logits = source[pattern.indices] + block.destinations(target)[pattern.rows]
        logits = F.leaky_relu(logits.float(), self.negative_slope)
        if block.looped_kept is not None:
            logits = logits.masked_fill(block.looped_kept[:, None] == 0, -torch.inf)
        attention = softmax_by_row(logits, pattern)
        out = [sparse_product(pattern, attention[:, h], head) for h, head in enumerate(heads)]
        if self.heads == 1:
            return out[0]
        return torch.cat(out, dim=1) if self.concat else torch.stack(out).mean(0)

    def calibrated(self) -> dict[nn.Module, list[str]]:
        # Measured before the attention, which is not linear in the weight.
        return {self.transformed: ["lin.weight"], self.source: ["att_src"], self.target: ["att_dst"]}
