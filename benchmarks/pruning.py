"""Magnitude pruning of a trained dense network, and training that goes on with what is left of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ugts_dist.checkpointing.state import Progress
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.tasks import Measure, Task
from ugts_dist.training.fit import learning_rate
from ugts_dist.training.trainer import make_trainer

State = Mapping[str, Tensor]


def pruned(state: State, sparsity: float) -> dict[str, Tensor]:
    """The state with round(sparsity x N) weights zero, those of least magnitude; weights have two axes or more."""
    weights = {name: value for name, value in state.items() if value.dim() >= 2}
    magnitudes = torch.cat([value.abs().reshape(-1) for value in weights.values()])
    keep = torch.ones_like(magnitudes)
    keep[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = 0.0
    parts = keep.split([value.numel() for value in weights.values()])
    masks = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
    return {name: value * masks[name] if name in masks else value for name, value in state.items()}


def tuned(state: State, config: Config, task: Task[Any], ranks: Ranks, measure: Measure) -> dict[str, Tensor]:
    """The state after `run.epochs` more of training in which zero weights stay zero.

    That of the best validation metric, which may be the first one.
    """
    training = make_trainer(config, task, ranks)
    model, zero = training.method.model, torch.zeros((), device=ranks.device)
    model.load_state_dict(dict(state))
    masks = {name: state[name].to(ranks.device) != 0 for name, _ in model.named_parameters() if state[name].dim() >= 2}

    @torch.no_grad()
    def stay_zero(done: Progress) -> None:
        for name, value in model.named_parameters():
            if name in masks:
                value.mul_(masks[name])

    best, tensors = measure.measure(model, zero)[0]["valid"], dict(state)
    for epoch in range(config.run.epochs):
        training.epoch(epoch, 0.0, learning_rate(config, epoch), stay_zero)
        training.progress.next_epoch()
        valid = measure.measure(model, zero)[0]["valid"]
        if valid > best:
            best = valid
            tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    return tensors
