"""Checks that numbers are still finite, at existing synchronisation points: no step waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

Kinds = Mapping[str, Mapping[str, Tensor]]
"""What a checkpoint holds, by kind (`trained`, `optimizer`) and name."""

_NAMES = {"trained": "scores or weights are", "optimizer": "moments of the optimiser are"}


def zero_if_finite(tensors: Iterable[Tensor], device: torch.device | None = None) -> Tensor:
    """0 if all numbers of the tensors are finite, otherwise NaN: a float32 scalar, without waiting for the device.

    Added to a loss that is summed over ranks, it informs all of them.
    """
    filled = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not filled:
        return torch.zeros((), device=device)
    # The largest magnitude is finite only if all numbers are. On a GPU one kernel computes it for many tensors.
    largest = torch.stack(torch._foreach_norm(filled, torch.inf)).float()
    return largest.mul(0.0).sum().to(filled[0].device if device is None else device)


def all_of(kinds: Kinds) -> Iterator[Tensor]:
    """Every tensor of every kind."""
    for group in kinds.values():
        yield from group.values()


def diverged(epoch: int, loss: Tensor, kinds: Kinds) -> FloatingPointError:
    """The error for training that is no longer finite. It names the tensors, which may be the logits only."""
    held = {"the loss is": [loss], **{_NAMES[kind]: list(group.values()) for kind, group in kinds.items()}}
    what = next((name for name, tensors in held.items() if bool(zero_if_finite(tensors).isnan())), "logits are")
    return FloatingPointError(f"{what} not finite in epoch {epoch}: try a smaller optim.lr")
