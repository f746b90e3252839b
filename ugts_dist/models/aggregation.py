"""Aggregation along the edges of a block, with the linear map before or after it, whichever is cheaper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.models.block import Block
from ugts_dist.models.sparse import (
    Features,
    Pattern,
    Rows,
    SparseFeatures,
    linear,
    sparse_product,
    sparse_product_and_rows,
)


@dataclass(frozen=True, eq=False)
class Summed:
    """Messages whose sums for the destinations of a block are known.

    Attributes:
        sums: `[num_dst, width]`.
        table: the messages of the sources, `[num_src, width]`.
    """

    sums: Tensor
    table: Tensor


Messages = tuple[Features, ...]
Incoming = tuple[Features | Summed, ...]
"""What a layer aggregates: messages, or the sums of them."""
LinearMap = Callable[[Features, Tensor], Tensor]  # features and a weight `[out, in]` -> `[num_nodes, out]`


def linear_first(x: Features, weight: Tensor, pattern: Pattern) -> bool:
    """Whether the linear map is cheaper before the aggregation. Sampled blocks have far fewer rows than columns."""
    if isinstance(x, SparseFeatures):
        return True
    width_out, width_in = weight.shape
    entries = pattern.indices.numel()
    linear_first = (pattern.num_cols * width_in + entries) * width_out
    aggregate_first = (pattern.num_rows * width_out + entries) * width_in
    return linear_first <= aggregate_first


def aggregate_linear(
    x: Features, weight: Tensor, pattern: Pattern, values: Tensor, linear_map: LinearMap = linear
) -> Tensor:
    """Aggregation and linear map (or its replacement), in the cheaper order."""
    if linear_first(x, weight, pattern):
        return sparse_product(pattern, values, linear_map(x, weight))
    assert not isinstance(x, SparseFeatures)
    return linear_map(aggregate(pattern, values, x), weight)


def mixed(x: Features, mapped: Tensor, mixing: float) -> Tensor:
    """The mixture of input and linear map; both are `[num_nodes, width]`."""
    if mixing == 1.0:
        return mapped
    assert isinstance(x, Tensor), "a hidden layer's output"
    return torch.lerp(x.to(mapped.dtype), mapped, mixing)


def narrowed(x: Features, weight: Tensor) -> Messages:
    """Messages of a whole graph: the input or the output, whichever is narrower."""
    return (linear(x, weight) if narrows(weight) else x,)


def aggregated(
    messages: Incoming, weight: Tensor, pattern: Pattern, values: Tensor, linear_map: LinearMap = linear
) -> Tensor:
    """The weighted sums of messages `[num_dst, out]`, with the linear map if `narrowed` has not applied it."""
    (table,) = messages
    assert not isinstance(table, SparseFeatures)
    out = aggregate(pattern, values, table)
    return out if narrows(weight) else linear_map(out, weight)


def narrows(weight: Tensor) -> bool:
    """Whether a linear map with this weight `[out, in]` makes rows shorter."""
    width_out, width_in = weight.shape
    return width_out < width_in


def aggregate(pattern: Pattern, values: Tensor, x: Tensor | Rows | Summed) -> Tensor:
    """The weighted sums of features over the edges: `[num_src, width]` -> `[num_dst, width]`."""
    if isinstance(x, Summed):
        return x.sums
    if isinstance(x, Rows):
        if x.table.dtype == torch.bfloat16 and not torch.is_autocast_enabled(x.table.device.type):
            return pattern.matmul(values, x.gather())  # a sum has the dtype of its terms: float32
        # Directly from the table: these features have no gradient and are not copied.
        return x.columns(pattern).matmul(values, x.table).float()
    return sparse_product(pattern, values, x)


def aggregate_and_destinations(
    pattern: Pattern, values: Tensor, x: Tensor | Rows | Summed, block: Block
) -> tuple[Tensor, Tensor]:
    """The aggregation, and the features of the destinations, both `[num_dst, width]`."""
    if isinstance(x, Summed):
        return x.sums, block.destinations(x.table).float()
    if isinstance(x, Rows):
        return aggregate(pattern, values, x), block.destinations(x).gather()
    if x.requires_grad and block.num_dst < block.num_src:
        return sparse_product_and_rows(pattern, values, x, block.start)
    return aggregate(pattern, values, x), block.destinations(x)


def linear_of_destinations(x: Features, weight: Tensor, block: Block) -> Tensor:
    """The linear map of the destinations\' features, `[num_dst, out]`."""
    if isinstance(x, SparseFeatures):
        return block.destinations(linear(x, weight))
    return linear(block.destinations(x), weight)


def softmax_by_row(logits: Tensor, pattern: Pattern) -> Tensor:
    """Softmax over the entries of each row; logits `[num_entries, heads]`."""
    rows = pattern.rows[:, None].expand_as(logits)
    shape = (pattern.num_rows, logits.shape[1])
    highest = logits.new_full(shape, -torch.inf).scatter_reduce(0, rows, logits.detach(), "amax")
    exponential = (logits - highest[pattern.rows]).exp()
    total = logits.new_zeros(shape).index_add(0, pattern.rows, exponential)
    return exponential / total[pattern.rows]
