"""Ranks: shares, and mistakes that only one of them sees."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import FileStore  # type: ignore[attr-defined]

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.device import agreed_device, own_device
from ugts_dist.distributed.ranks import Ranks, ranks_of_group
from ugts_dist.errors import InputError
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.tasks.placement import evaluation_device, placed
from ugts_dist.training.run import run


@given(st.integers(0, 1000), st.integers(1, 9))
def test_every_item_is_in_one_share(size: int, world_size: int) -> None:
    shares = [range(*Ranks(rank, world_size).share(size)) for rank in range(world_size)]
    assert [item for share in shares for item in share] == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def _mistake_on(culprit: int, rank: int) -> int:
    if rank == culprit:
        raise InputError(f"rank {rank} has no data")
    return rank


def _together(rank: int, world_size: int) -> tuple[int, str]:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    value = ranks.raise_together(lambda: _mistake_on(-1, rank))
    try:
        ranks.raise_together(lambda: _mistake_on(1, rank))
    except InputError as error:
        return value, str(error)
    return value, ""


def test_a_mistake_of_one_rank_is_every_ranks() -> None:
    assert spawn(3, _together, 3) == [(rank, "rank 1 has no data") for rank in range(3)]


def _local(rank: int, machines: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ranks, "machine_id", machines[rank])
        return ranks_of_group(torch.device("cpu")).local_world_size


def test_the_ranks_of_each_machine_are_counted() -> None:
    assert spawn(3, _local, ["a", "b", "a"]) == [2, 1, 2]


def _run_into(rank: int, folder: str) -> str:
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD)
    try:
        run(config(run__folder=folder), ranks)
    except InputError as error:
        return str(error)
    return ""


def test_a_folder_that_exists_ends_all_ranks(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    messages = spawn(2, _run_into, str(tmp_path))
    assert len(set(messages)) == 1
    assert "run.folder is" in messages[0]
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def _device(rank: int, wanted: Literal["auto", "cuda"], folder: str) -> str:
    store = FileStore(f"{folder}/{wanted}", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: rank)
        patch.setattr(socket, "gethostname", lambda: f"node{rank}")
        try:
            return str(agreed_device(store, rank, 2, wanted))
        except InputError as error:
            return str(error)


def test_ranks_with_unlike_devices_are_refused_together(tmp_path: Path) -> None:
    for wanted, told in (
        ("auto", "device is auto, but rank 0 on node0 has no GPU, .*; allowed is cpu"),
        ("cuda", "rank 0 on node0: device is cuda, but "),
    ):
        messages = spawn(2, _device, wanted, str(tmp_path))
        assert len(set(messages)) == 1
        assert re.match(told, messages[0])


def _placed(rank: int, free: tuple[int, int], placement: str) -> tuple[str, str]:
    """Where the ranks evaluate, and where the graph is placed."""
    ranks = Ranks(rank, 2, torch.device("cuda", rank), dist.group.WORLD, machine="node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 1 << 40))
        graph, settings = planted_graph(), config(batch__placement=placement)
        evaluated = evaluation_device(graph, settings, ranks).type
        try:
            return evaluated, "host" if placed(graph, settings, ranks, FeatureTables(graph)) is graph else "device"
        except InputError as error:
            return evaluated, str(error)


def test_ranks_decide_together_by_the_least_free_memory() -> None:
    assert spawn(2, _placed, (1 << 40, 0), "auto") == [("cpu", "host")] * 2
    assert spawn(2, _placed, (1 << 40, 1 << 40), "host") == [("cuda", "host")] * 2
    messages = spawn(2, _placed, (0, 1 << 40), "device")
    assert messages[0] == messages[1]
    assert "are free on cuda:0 of rank 0 on node; allowed: auto or host" in messages[0][1]


@pytest.mark.parametrize(
    ("cuda", "told"),
    [
        (None, r"^device is cuda, but torch 2\S* is built for CPUs only; .* after `make install TORCH=cuda`$"),
        ("12.8", r"^device is cuda, but torch 2\S*, built for CUDA 12\.8, finds no GPU: .* driver .*; allowed is cpu$"),
    ],
)
def test_a_missing_gpu_is_told_with_the_build_of_torch(
    cuda: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(InputError, match=told):
        own_device("cuda")
