from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import RankError, spawn


def _gather(rank: int, values: Tensor, scale: float) -> tuple[int, int, Tensor]:
    total = values[rank].clone() * scale
    dist.all_reduce(total)
    return dist.get_rank(), dist.get_world_size(), total


def _fail_on_last(rank: int) -> None:
    if rank == dist.get_world_size() - 1:
        raise ValueError(f"rank {rank} does not like this")
    dist.barrier()


def _die(rank: int) -> None:
    if rank == 0:
        os._exit(3)
    dist.barrier()


def _sleep(rank: int) -> None:
    time.sleep(60.0 * rank)


@pytest.mark.parametrize("world_size", [1, 3])
def test_spawn_gives_every_rank_its_number_and_a_process_group(world_size: int) -> None:
    values = torch.arange(12.0).reshape(3, 4)
    results = spawn(world_size, _gather, values, 2.0)
    assert [(rank, size) for rank, size, _ in results] == [(rank, world_size) for rank in range(world_size)]
    for _, _, total in results:
        assert torch.equal(total, 2.0 * values[:world_size].sum(0))


def test_spawn_raises_what_a_rank_raised() -> None:
    with pytest.raises(RankError, match="ValueError: rank 1 does not like this"):
        spawn(2, _fail_on_last)


def test_spawn_raises_where_a_rank_dies() -> None:
    with pytest.raises(RankError, match="rank 0: ended without a result"):
        spawn(2, _die)


def test_spawn_does_not_wait_for_ever() -> None:
    with pytest.raises(RankError, match="no result within 1 s"):
        spawn(2, _sleep, timeout=1.0)
