"""The scale of targets: mean and deviation of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale of targets. Frozen weights have no bias and a fixed scale, so they are trained on standardised ones.

    Attributes:
        mean, deviation: of each target's known training values, float64 `[columns]`; deviation 1 for a constant.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, y: Tensor) -> Scale:
        """The scale of targets `[num_items, columns]`, NaN if unknown."""
        y = y.double()
        mean = y.nanmean(0).nan_to_num()
        deviation = (y - mean).square().nanmean(0).sqrt().nan_to_num()
        return cls(mean, torch.where(deviation > 1e-12 * mean.abs(), deviation, 1.0))

    def to(self, device: torch.device | None) -> Scale:
        return Scale(self.mean.to(device), self.deviation.to(device))

    def standardized(self, y: Tensor) -> Tensor:
        """Standardised targets, on the device of the scale."""
        return ((y - self.mean) / self.deviation).float()

    def restored(self, outputs: Tensor) -> Tensor:
        """Targets in their own units, from the network's outputs `[num_items, columns]`."""
        scale = self.to(outputs.device)
        return (outputs * scale.deviation + scale.mean).float()

    def to_json(self) -> dict[str, list[float]]:
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, values: Any) -> Scale:
        """Inverse of `to_json`. Raises ValueError for anything else."""
        try:
            mean, deviation = (torch.tensor(values[name], dtype=torch.float64) for name in ("mean", "deviation"))
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"no mean and deviation: {error}") from None
        if mean.dim() != 1 or mean.shape != deviation.shape or not bool((mean.isfinite() & (deviation > 0)).all()):
            raise ValueError("its mean and deviation are not finite numbers, one for each target")
        return cls(mean, deviation)
