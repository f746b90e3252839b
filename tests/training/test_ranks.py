"""Ranks: shares, and mistakes that only one of them sees."""

from __future__ import annotations

from pathlib import Path

import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import spawn
from tests.training.helpers import config
from ugts_dist.errors import InputError
from ugts_dist.training.ranks import Ranks
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
    value = ranks.together(lambda: _mistake_on(-1, rank))
    try:
        ranks.together(lambda: _mistake_on(1, rank))
    except InputError as error:
        return value, str(error)
    return value, ""


def test_a_mistake_of_one_rank_is_every_ranks() -> None:
    assert spawn(3, _together, 3) == [(rank, "rank 1 has no data") for rank in range(3)]


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
