"""Standardisation of feature columns."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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


@dataclass(frozen=True, eq=False)
class ColumnStatistics:
    """What standardisation subtracts from each column, and what it divides by.

    Attributes:
        mean: `[num_features]`, float64.
        deviation: `[num_features]`, float64; 0 for a column that is constant up to rounding.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> ColumnStatistics:
        """The statistics of `[num_nodes, num_features]`."""
        mean, deviation = column_moments(x)
        return cls(mean, torch.where(deviation > _CONSTANT * mean.abs(), deviation, 0.0))

    @property
    def factor(self) -> Tensor:
        """What columns are multiplied by, `[num_features]`: 1 / deviation, or 0 for constant columns."""
        return torch.where(self.deviation > 0, self.deviation.reciprocal(), 0.0)

    def standardized(self, x: Tensor) -> Tensor:
        """A float32 copy of `[num_nodes, num_features]`, standardised; constant columns become 0."""
        factor = self.factor
        scaled = torch.empty(x.shape, dtype=torch.float32)
        rows = max(1, _BLOCK // x.shape[1])
        for source, target in zip(x.split(rows), scaled.split(rows), strict=True):
            target.copy_((source.double() - self.mean).mul_(factor))
        return scaled

    def to_json(self) -> dict[str, str]:
        """Little-endian float32 in Base64: 8 bytes a feature, as DEFLATE removes most of what Base64 adds."""
        return {name: base64.b64encode(_float32(value).tobytes()).decode() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Any) -> ColumnStatistics:
        """Inverse of `to_json`, rounded. Raises ValueError for values that it does not return."""
        if not isinstance(values, Mapping) or values.keys() != {"mean", "deviation"}:
            raise ValueError("no mean and deviation")
        mean, deviation = (_from_text(values[name]) for name in ("mean", "deviation"))
        if mean.shape != deviation.shape or bool((deviation < 0).any()):
            raise ValueError("mean and deviation do not fit together")
        return cls(mean, deviation)


def relative_deviations(deviation: Tensor) -> Tensor:
    """Deviations `[num_features]` divided by the median of those that are not 0; all 0 if there is none."""
    varying = deviation[deviation > 0]
    return deviation / varying.median() if varying.numel() else deviation


def standardized(x: Tensor) -> Tensor:
    """A float32 copy whose columns have mean 0 and standard deviation 1; constant columns are 0."""
    return ColumnStatistics.of(x).standardized(x)


def _float32(values: Tensor) -> NDArray[np.float32]:
    return values.numpy().astype("<f4")


def _from_text(text: Any) -> Tensor:
    if not isinstance(text, str):
        raise ValueError("statistics that are no text")
    data = base64.b64decode(text, validate=True)  # binascii.Error is a ValueError
    values = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float64))
    if not bool(values.isfinite().all()):
        raise ValueError("statistics that are not finite")
    return values
