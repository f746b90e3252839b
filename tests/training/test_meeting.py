"""Ranks that are started anew over a store in which earlier ones have left their notes."""

from __future__ import annotations

import threading
import time

from torch.distributed import HashStore  # type: ignore[attr-defined]

from ugts_dist.training.meeting import meet


def start(store: HashStore, world_size: int, late: float = 0.0) -> list[str]:
    """Each rank in a thread, the main one later than the others or, where it is negative, before them."""
    names = [""] * world_size

    def rank(number: int) -> None:
        time.sleep(max(0.0, late if number == 0 else -late))
        names[number] = meet(store, number, world_size)

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
    assert meet(HashStore(), 0, 1)
