"""The parametrization that masks one frozen weight by the scores that are trained for it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ugts_dist.supermask.threshold import CHUNK

Ranking = Literal["score", "magnitude"]


class _MaskWeight(torch.autograd.Function):
    """Straight-through step: forward `scale * weight * (score >= threshold)`; backward, for every score whether it is
    masked or not, `grad * scale * weight`."""

    @staticmethod
    def forward(weight: Tensor, score: Tensor, threshold: Tensor, scale: Tensor) -> Tensor:
        # The mask as floats: on a CPU several times as fast as a boolean one and `torch.where`.
        # The last product is not in place: compiled, torch 2.11 would hand on no gradient.
        return torch.ge(score, threshold, out=torch.empty_like(score)).mul_(weight) * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[3])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return None, (grad * weight).mul_(scale), None, None


class MaskedWeight(nn.Module):
    """Parametrization of one frozen weight: holds its score and its threshold.

    Registered with `torch.nn.utils.parametrize`, so that a layer that reads its `weight` gets the masked one.
    """

    threshold: Tensor
    scale: Tensor

    def __init__(self, score: Tensor, ranking: Ranking) -> None:
        super().__init__()
        self.score = nn.Parameter(score)
        self.ranking = ranking
        self.register_buffer("threshold", score.new_full((), -torch.inf))
        self.register_buffer("scale", score.new_ones(()))

    def ranked(self) -> Tensor:
        """What is compared with the threshold: the score, or its magnitude as in the original Edge-Popup."""
        return self.score.abs() if self.ranking == "magnitude" else self.score

    def mask(self) -> Tensor:
        """Boolean supermask of the weight's shape."""
        return self.ranked().detach() >= self.threshold

    def count_kept(self) -> Tensor:
        """How many weights the mask keeps: a scalar."""
        score = self.ranked().detach()
        if score.is_cuda:
            return (score >= self.threshold).sum()
        chunks = score.reshape(-1).split(CHUNK)  # small enough for float32 to count exactly
        kept = [torch.ge(chunk, self.threshold, out=torch.empty_like(chunk)).sum() for chunk in chunks]
        return torch.stack(kept).sum(dtype=torch.float64)

    def forward(self, weight: Tensor) -> Tensor:
        return _MaskWeight.apply(weight, self.ranked(), self.threshold, self.scale)
