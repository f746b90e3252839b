"""What the ranks of a step average: the gradients of the scores, and the statistics of own networks."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.models import OwnNetwork


def data_parallel(model: nn.Module, ranks: Ranks, compress: bool = False) -> nn.Module:
    """DDP, which averages the gradients of the scores. Frozen weights have none, and no buffer is broadcast."""
    if ranks.process_group is None:
        return model
    options: dict[str, Any] = {"gradient_as_bucket_view": True}
    # torch 2.13 renamed broadcast_buffers.
    known = inspect.signature(DistributedDataParallel).parameters
    options["forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"] = False
    network = DistributedDataParallel(model, process_group=ranks.process_group, **options)
    if compress:
        network.register_comm_hook(ranks.process_group, bf16_compress_hook)
    return network


def statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that training changes, such as the running statistics of BatchNorm in an own network, by name."""
    return model.statistics() if isinstance(model, OwnNetwork) else {}


def average(statistics: dict[str, Tensor], ranks: Ranks) -> None:
    """Replace statistics by their mean over ranks, so that every rank evaluates and saves the same network."""
    values = [value for value in statistics.values() if value.is_floating_point()]
    if ranks.world_size == 1 or not values:
        return
    mean = ranks.all_reduce_sum(torch.cat([value.flatten() for value in values])) / ranks.world_size
    for value, part in zip(values, mean.split([value.numel() for value in values]), strict=True):
        value.copy_(part.view_as(value))


def without_averaging(network: nn.Module) -> AbstractContextManager[Any]:
    """Within it, gradients accumulate on each rank."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
