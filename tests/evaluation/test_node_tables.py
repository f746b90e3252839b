"""Tables for all nodes: one copy per machine, complete on every rank, deleted when no process holds them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.processes import spawn
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.node_tables import NodeTables, pieces

NUM_NODES, WIDTH = 11, 3
WHOLE = torch.arange(NUM_NODES * WIDTH).view(NUM_NODES, WIDTH).float()


def _fill(rank: int, world_size: int, machine: str, spill: str) -> tuple[torch.Tensor, list[str]]:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD, machine=machine.format(rank=rank))
    tables = NodeTables(NUM_NODES, ranks, torch.device("cpu"), spill)
    table = tables.empty(WIDTH)
    start, stop = ranks.share(NUM_NODES)
    table[start:stop] = WHOLE[start:stop]
    tables.complete([table])
    filled = table.clone()
    ranks.barrier()
    if rank == 0:
        table[-1, -1] = -1.0  # in the last rank's part
    ranks.barrier()
    return filled, ["shared" if float(table[-1, -1]) == -1.0 else "own", *map(str, Path(spill).glob(".ugts*"))]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_of_a_machine_share_one_table(world_size: int, tmp_path: Path) -> None:
    for table, (kind, *files) in spawn(world_size, _fill, world_size, "one", str(tmp_path)):
        assert torch.equal(table, WHOLE)
        assert kind == "shared"
        assert files == [], "the file has no name any more"


def test_machines_have_a_table_each(tmp_path: Path) -> None:
    results = spawn(3, _fill, 3, "machine {rank}", str(tmp_path))
    assert all(torch.equal(table, WHOLE) for table, _ in results)
    assert [kind for _, (kind, *_) in results] == ["shared", "own", "own"], "rank 0 sees its own change only"


def _two_and_one(rank: int, spill: str) -> torch.Tensor:
    return _fill(rank, 3, "first" if rank < 2 else "second", spill)[0]


def test_machines_may_have_several_ranks(tmp_path: Path) -> None:
    assert all(torch.equal(table, WHOLE) for table in spawn(3, _two_and_one, str(tmp_path)))


def test_a_single_process_spills_where_it_is_told(tmp_path: Path) -> None:
    table = NodeTables(NUM_NODES, Ranks(), torch.device("cpu"), str(tmp_path / "new")).empty(WIDTH)
    table.copy_(WHOLE)
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "new") in maps, "it lies in the folder's file"
    assert os.listdir(tmp_path / "new") == []
    del table
    assert str(tmp_path / "new") not in Path("/proc/self/maps").read_text(), "and its room is free again"


def _boots(rank: int, boot: str, spill: str) -> str:
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD, machine="same", boot=boot.format(rank=rank))
    table = NodeTables(NUM_NODES, ranks, torch.device("cpu"), spill).empty(WIDTH)
    table.fill_(0.0)
    ranks.barrier()
    if rank == 0:
        table.fill_(1.0)
    ranks.barrier()
    return "shared" if float(table.sum()) else "own"


def test_machines_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert spawn(2, _boots, "boot {rank}", str(tmp_path)) == ["shared", "own"], "rank 0 sees its own change only"
    assert spawn(2, _boots, "", str(tmp_path)) == ["shared", "shared"]


def _containers(rank: int, folder: str) -> str:
    """Rank 1 does not see the file that rank 0 has made."""
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD)
    own = Path(folder, str(rank))
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            gather = Ranks.all_gather_object
            patch.setattr(Ranks, "all_gather_object", lambda *args: [_elsewhere(value) for value in gather(*args)])
        try:
            NodeTables(NUM_NODES, ranks, torch.device("cpu"), str(own)).empty(WIDTH)
        except InputError as error:
            return str(error)
    return ""


def _elsewhere(value: object) -> object:
    return value.replace("/0/.ugts", "/nowhere/.ugts") if isinstance(value, str) else value


def test_a_file_that_a_rank_of_the_machine_does_not_see_is_told_on_all(tmp_path: Path) -> None:
    messages = spawn(2, _containers, str(tmp_path))
    assert len(set(messages)) == 1
    assert re.match(r"run\.spill is '\S+': rank 1 on \S+ does not see \S+/nowhere/\.ugts-table-\S+, which", messages[0])
    assert list(tmp_path.rglob(".ugts*")) == []


def _no_room(rank: int, folder: str) -> str:
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD)
    try:
        NodeTables(1 << 40, ranks, torch.device("cpu"), folder).empty(1 << 10)
    except InputError as error:
        return str(error)
    return ""


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    messages = spawn(2, _no_room, str(tmp_path))
    assert len(set(messages)) == 1
    assert "evaluation: a table of 4194304.00 GiB for all nodes does not fit into" in messages[0]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^run\.spill: .*file can't be written to"):
        NodeTables(4, Ranks(), torch.device("cpu"), str(tmp_path / "file")).empty(1)


@pytest.mark.parametrize("size", [1, 4, 10, 99])
def test_pieces_cover_a_range_once(size: int) -> None:
    covered = [number for start, stop in pieces(3, 24, size) for number in range(start, stop)]
    assert covered == list(range(3, 24))
    assert all(0 < stop - start <= size for start, stop in pieces(3, 24, size))
