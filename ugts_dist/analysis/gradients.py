"""The norm of the gradient of one training step, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ugts_dist.analysis.subject import Subject
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.tasks import Batches, Task

_CONVOLUTION = "convs"


def gradient_norms(
    model: nn.Module, weights: Iterable[str], task: Task[Any], batches: Iterable[Any], ranks: Ranks
) -> dict[str, float]:
    """L2 norm of the training loss's gradient with respect to each layer's effective weights. Collective.

    The effective weights are those after masking, frozen or trained. Gradients of masked weights are excluded:
    dL/d(masked weight) * mask. So the quantity is the same for a ticket whose scores train, for the plain network that
    is rebuilt from it, and for a dense network, all of whose weights count. (The gradient of a score is this one times
    the frozen weight.) Dropout is off. The model's own gradients do not change.

    Args:
        model: of the task, with its masks set.
        weights: names of its weights, as in the plain network.
        batches: those of one step on this rank.

    Returns: the norms, float64, by the number of the convolution from 1, and by name for other layers.
    """
    with parametrize.cached():  # so that a masked weight is the same tensor here and in its layer
        tensors = {name: _weight(model, name) for name in weights}
        sums = [torch.zeros_like(tensor) for tensor in tensors.values()]
        for batch in batches:
            loss = task.loss(task.forward(model, batch).float(), batch)
            gradients = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True, materialize_grads=True)
            sums = [total + part for total, part in zip(sums, gradients, strict=True)]
    squares: dict[str, float] = {}
    for (name, tensor), total in zip(tensors.items(), sums, strict=True):
        kept = ranks.all_reduce_sum(total).double().square()[tensor != 0]
        squares[_layer(name)] = squares.get(_layer(name), 0.0) + float(kept.sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def gradients_of(subject: Subject) -> dict[str, float]:
    """The norms of a saved network on its graph, at its first step. Collective. Raises InputError as a run does."""
    config, task, ranks = subject.config, subject.task, subject.ranks
    ranks.raise_together(lambda: task.check(config, ranks))
    weights = dict(subject.model.named_parameters())
    step = batches_of_a_step(task.batches(config, ranks), 0)
    return gradient_norms(subject.model, weights, task, step, ranks)


def batches_of_a_step(batches: Batches[Any], epoch: int) -> Iterator[Any]:
    """This rank's batches of the first step of an epoch: several with micro-batches."""
    for batch in batches.epoch(epoch):
        yield batch
        if batch.is_last:
            return


def _weight(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(owner), attribute)
    return tensor


def _layer(name: str) -> str:
    """convs.0.lin.weight -> 1; other layers keep their name: skip.weight -> skip."""
    parts = name.split(".")
    if parts[0] == _CONVOLUTION:
        return str(int(parts[1]) + 1)
    return ".".join(parts[:-1])
