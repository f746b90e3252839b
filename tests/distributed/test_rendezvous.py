"""Ranks that restart on a store in which earlier ranks have left their keys."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from tests.processes import spawn
from ugts_dist.distributed import rendezvous
from ugts_dist.distributed.rendezvous import Endpoint, open_store, unique_name
from ugts_dist.errors import InputError, LostRankError


def start(store: HashStore, world_size: int, late: float = 0.0) -> list[str]:
    """Start each rank in a thread: the main one later than the others or, if `late` is negative, before them."""
    names = [""] * world_size

    def rank(number: int) -> None:
        time.sleep(max(0.0, late if number == 0 else -late))
        names[number] = unique_name(store, number, world_size)

    threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    return names


def test_all_ranks_of_a_start_agree_and_no_two_starts_do() -> None:
    store = HashStore()
    starts = [start(store, 3, late) for late in (0.0, 0.2, -0.2)]
    assert all(len(set(names)) == 1 and names[0] for names in starts)
    assert len({names[0] for names in starts}) == 3


def test_the_call_of_a_rank_that_died_is_not_taken_for_that_of_its_successor() -> None:
    store = HashStore()
    store.set("call/1", "dead")
    names = start(store, 2, late=-0.3)
    assert names[0] == names[1] != ""


def test_one_rank_meets_nobody() -> None:
    assert unique_name(HashStore(), 0, 1)


def test_rank_0_tells_for_whom_it_waits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_NOTE_SECONDS", 0.0)
    with pytest.raises(LostRankError, match=r"^rank 1, 2 did not come to node:7 within 0\.2 s$"):
        unique_name(HashStore(), 0, 3, "node:7", seconds=0.2)
    assert capsys.readouterr().err == "ugts: waiting for 2 of 3 ranks at node:7\n"


def test_another_rank_tells_that_rank_0_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "_NOTE_SECONDS", 0.0)
    with socket.socket() as taken:  # bound, but no process listens
        taken.bind(("127.0.0.1", 0))
        point = Endpoint(1, 2, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(LostRankError, match=f"^rank 0 did not answer at {point.place} within 0.5 s$"):
            open_store(point, 0.5)
        assert f"ugts: waiting for rank 0 of 2 ranks at {point.place}\n" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        point = Endpoint(0, 1, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(InputError, match=rf"are {point.place}, where rank 0 can't listen \("):
            open_store(point, 5.0)


def _meets(rank: int, port: int) -> bytes:
    store = open_store(Endpoint(rank, 2, "127.0.0.1", port), 30.0)
    store.set(f"{rank}", str(rank))
    other: bytes = store.get(str(1 - rank))
    dist.barrier()  # rank 0 holds the store
    return other


def test_ranks_without_a_launcher_meet_at_rank_0() -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    assert spawn(2, _meets, port) == [b"1", b"0"]
