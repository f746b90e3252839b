"""In which precision a step computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks


def layers(config: Config, ranks: Ranks) -> AbstractContextManager[Any]:
    """Layers in bfloat16 where that is asked for; parameters, and so the scores' gradients, stay float32."""
    return torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.optim.precision == "bfloat16")


@contextmanager
def products(config: Config) -> Iterator[None]:
    """Matrix products of float32 in precision "medium" where that is asked for, forward and backward; then as before.

    https://docs.pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html
    """
    if config.optim.precision != "medium":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
