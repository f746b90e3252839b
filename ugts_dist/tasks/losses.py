"""Losses of classes, of several labels at once, and of targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ugts_dist.graphs.targets import Scale


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
class TargetLoss:
    """Squared or absolute errors of standardised targets: the mean over the columns. Unknown targets count nothing."""

    kind: Literal["mse", "mae"]
    scale: Scale

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        known = ~y.isnan()
        error = torch.where(known, logits - self.scale.standardized(y).nan_to_num(), 0.0)
        return (error.square() if self.kind == "mse" else error.abs()).sum() / y.shape[1]
