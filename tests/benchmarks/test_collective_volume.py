"""Collectives are counted, those of DDP too, and the bytes that follow are those that the sockets have sent."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from collective_volume import Collective, CollectiveVolume, socket_bytes

from tests.processes import spawn

SIZE = 300  # of a square weight


def settled() -> int:
    """The sockets' count when nothing is on its way any more."""
    dist.barrier()
    time.sleep(0.2)
    return socket_bytes()


def speak(rank: int, world_size: int) -> tuple[list[tuple[str, str, int]], list[tuple[int, float]], int]:
    """All collectives of a DDP step and an all-gather; of each the bytes sent, counted by the kernel and computed."""
    network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(SIZE, SIZE, bias=False))
    counts = torch.zeros(1 << 14, dtype=torch.int64)
    volume, pairs = CollectiveVolume(), []
    actions = {
        "gradient": lambda: network(torch.ones(1, SIZE)).sum().backward(),
        "threshold": lambda: dist.all_gather([torch.empty_like(counts) for _ in range(world_size)], counts),
    }
    for part, action in actions.items():
        before = settled()
        first = len(volume.collectives)
        with volume, volume.part(part):
            action()
        computed = sum(call.sent(world_size) for call in volume.collectives[first:])
        pairs.append((settled() - before, computed))
    return [(call.part, call.name, call.payload) for call in volume.collectives], pairs, volume.operations["gradient"]


@pytest.mark.parametrize("world_size", [2, 4])
def test_computed_bytes_are_those_of_the_sockets(world_size: int) -> None:
    for calls, pairs, operations in spawn(world_size, speak, world_size):
        assert calls == [("gradient", "allreduce_", 4 * SIZE**2), ("threshold", "allgather_", 8 << 14)]
        for counted, computed in pairs:
            assert computed <= counted <= 1.01 * computed + 4096  # headers, and those of the barriers
        assert operations >= 2  # at least a matrix product forward and one backward


@pytest.mark.parametrize(
    ("name", "sent"), [("allreduce_", 2 * 7 / 8), ("allgather_", 7.0), ("broadcast_", 7 / 8), ("barrier", 7.0)]
)
def test_bytes_of_eight_ranks(name: str, sent: float) -> None:
    assert Collective("", name, 1000).sent(8) == pytest.approx(1000 * sent)
    assert Collective("", name, 1000).sent(1) == 0
