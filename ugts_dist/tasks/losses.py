"""Losses of classes, of several labels at once, and of targets; and the scale of targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(Protocol):
    """The sum over a batch of each item's loss."""

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """`logits` `[num_items, width]` and labels, classes `[num_items]` or numbers `[num_items, width]`: a scalar."""
        ...


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """Cross-entropy of classes, by default unweighted.

    Attributes:
        weight: of each class, `[num_classes]`.
    """

    weight: Tensor | None = None

    @classmethod
    def balanced(cls, y: Tensor, num_classes: int, device: torch.device | None = None) -> CrossEntropy:
        """Weights inversely proportional to the counts of the classes in `y`; their mean over `y` is 1."""
        counts = torch.bincount(y, minlength=num_classes).double()
        present = int((counts > 0).sum())
        return cls((y.numel() / (present * counts.clamp(min=1))).float().to(device))

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, self.weight, reduction="sum")


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Binary cross-entropy of several labels at once: the mean over the columns. Unknown labels count nothing."""

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        known = (~y.isnan()).float()
        loss = F.binary_cross_entropy_with_logits(logits, y.nan_to_num(), known, reduction="sum")
        return loss / y.shape[1]


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


@dataclass(frozen=True, eq=False)
class TargetLoss:
    """Squared or absolute errors of standardised targets: the mean over the columns. Unknown targets count nothing."""

    kind: Literal["mse", "mae"]
    scale: Scale

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        known = ~y.isnan()
        error = torch.where(known, logits - self.scale.standardized(y).nan_to_num(), 0.0)
        return (error.square() if self.kind == "mse" else error.abs()).sum() / y.shape[1]
