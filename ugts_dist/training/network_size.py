"""Whether a network can be trained in the memory at hand, found out before anything is allocated for it."""

from __future__ import annotations

import os

import torch

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError

_FLOAT_BYTES = 4


def check_size(config: Config, network: torch.nn.Module, ranks: Ranks) -> None:
    """Raises InputError where the memory of this machine, or of the rank's GPU, can't hold what training needs.

    Args:
        network: as it will be trained, on the meta device.
    """
    # Weights, gradients and two moments of each; of a ticket the scores and the masked weights too, and what is frozen.
    dense = config.supermask.method == "dense"
    frozen = not dense and config.supermask.pruned + config.supermask.locked > 0
    copies = (4 if dense else 6) + frozen + (config.optim.average > 0)
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    needed, room = _FLOAT_BYTES * copies * num_weights, _memory(ranks)
    if needed > room:
        model = config.model
        raise InputError(
            f"model.width is {model.width} and model.depth {model.depth}: {num_weights:,} weights, which take "
            f"{needed / 2**30:,.1f} GiB on each rank to train; allowed is what fits into {room / 2**30:,.1f} GiB"
        )


def _memory(ranks: Ranks) -> int:
    """Bytes that each rank has at most: of its GPU, or its share of the machine."""
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_properties(ranks.device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks.local_world_size
