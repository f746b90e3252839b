"""Standardisation of feature columns."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 20  # numbers that are read at once
_CONSTANT = 1e-6  # deviation divided by mean below which a column is constant up to rounding


def column_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column of `[num_nodes, num_features]`, float64 `[num_features]`.

    Two passes in blocks: a memory-mapped table is never held as a whole, and large means do not cancel small
    deviations.
    """
    rows = max(1, _BLOCK // x.shape[1])
    mean = torch.zeros(x.shape[1], dtype=torch.float64)
    for block in x.split(rows):
        mean += block.sum(0, dtype=torch.float64)
    mean /= x.shape[0]
    squares = torch.zeros_like(mean)
    for block in x.split(rows):
        squares += (block.double() - mean).square_().sum(0)
    return mean, (squares / x.shape[0]).sqrt_()


def standardized(x: Tensor) -> Tensor:
    """A float32 copy whose columns have mean 0 and standard deviation 1; constant columns are 0."""
    mean, deviation = column_moments(x)
    varies = deviation > _CONSTANT * mean.abs()
    factor = torch.where(varies, deviation.reciprocal(), 0.0)
    scaled = torch.empty(x.shape, dtype=torch.float32)
    rows = max(1, _BLOCK // x.shape[1])
    for source, target in zip(x.split(rows), scaled.split(rows), strict=True):
        target.copy_((source.double() - mean).mul_(factor))
    return scaled
