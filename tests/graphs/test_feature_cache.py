"""The feature cache: the rows of the table, as few reads as Belady's rule, and slots that stay while they are used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.feature_cache import CacheClosedError, FeatureCache

TABLE = torch.arange(60.0).view(30, 2)


class Memory:
    """In place of a file: a table in memory."""

    bytes_read = 0

    def __init__(self) -> None:
        self.rows_read = 0

    def read(self, rows: Tensor, out: Tensor, slots: Tensor) -> None:
        assert torch.equal(rows, rows.unique())
        self.rows_read += rows.numel()
        out[slots] = TABLE[rows]


def cache_of(num_slots: int) -> FeatureCache:
    memory: Any = Memory()
    return FeatureCache(memory, 30, torch.empty(num_slots, 2))


def fewest_reads(batches: Sequence[Tensor], num_slots: int) -> int:
    """Reads of the optimal rule, one batch after the other, which knows all batches."""
    held: set[int] = set()
    reads = 0
    for number, batch in enumerate(batches):
        rows = set(batch.tolist())
        reads += len(rows - held)

        def next_use(row: int, number: int = number) -> int:
            later = (k for k in range(number + 1, len(batches)) if row in batches[k].tolist())
            return next(later, len(batches))

        others = sorted(held - rows, key=next_use)
        held = rows | set(others[: num_slots - len(rows)])
    return reads


BATCHES = st.lists(
    st.lists(st.integers(0, 29), min_size=1, max_size=8, unique=True).map(torch.tensor), min_size=1, max_size=25
)


@settings(max_examples=150, deadline=None)
@given(BATCHES, st.integers(8, 32))
def test_there_are_as_few_reads_as_possible(batches: list[Tensor], num_slots: int) -> None:
    cache = cache_of(num_slots)
    for number, batch in enumerate(batches):
        slots = cache.load(batch, batches[number + 1 :])
        assert torch.equal(cache.table[slots], TABLE[batch])
        cache.release(slots)
    assert cache.misses == fewest_reads(batches, num_slots)
    assert cache.hits + cache.misses == sum(batch.numel() for batch in batches)


@settings(max_examples=80, deadline=None)
@given(BATCHES, st.integers(24, 32), st.integers(0, 3))
def test_rows_stay_until_they_are_released(batches: list[Tensor], num_slots: int, known: int) -> None:
    """With three batches in use, and few that are known before."""
    cache, used = cache_of(num_slots), list[tuple[Tensor, Tensor]]()
    for number, batch in enumerate(batches):
        used.append((batch, cache.load(batch, batches[number + 1 : number + 1 + known])))
        for rows, slots in used:
            assert torch.equal(cache.table[slots], TABLE[rows])
        if len(used) == 3:
            cache.release(used.pop(0)[1])


def test_of_rows_that_are_not_needed_the_rarest_make_room() -> None:
    cache = cache_of(3)
    for rows in ([0, 1], [0, 2], [3]):
        cache.release(cache.load(torch.tensor(rows), []))
    assert cache.misses == 4
    cache.load(torch.tensor([0]), [])
    assert cache.misses == 4, "row 0 was used twice"


def test_a_batch_waits_for_room() -> None:
    cache, loaded = cache_of(4), list[Tensor]()
    first = cache.load(torch.tensor([0, 1, 2]), [])
    thread = threading.Thread(target=lambda: loaded.append(cache.load(torch.tensor([2, 3, 4]), [])))
    thread.start()
    thread.join(0.1)
    assert not loaded
    assert torch.equal(cache.table[first], TABLE[:3])
    cache.release(first)
    thread.join()
    assert torch.equal(cache.table[loaded[0]], TABLE[2:5])


def test_a_batch_that_waits_ends_with_the_cache() -> None:
    cache, raised = cache_of(2), list[BaseException]()

    def wait() -> None:
        try:
            cache.load(torch.tensor([2, 3]), [])
        except CacheClosedError as error:
            raised.append(error)

    cache.load(torch.tensor([0, 1]), [])
    thread = threading.Thread(target=wait)
    thread.start()
    cache.close()
    thread.join()
    assert raised
    cache.reopen()
    assert torch.equal(cache.table[cache.load(torch.tensor([2, 1]), [])], TABLE[[2, 1]])


def test_a_cache_that_is_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch\.cache_bytes: a batch reads 4 rows, .* allowed are 32 bytes"):
        cache_of(3).load(torch.arange(4), [])


def test_a_failed_read_leaves_no_row_behind() -> None:
    cache = cache_of(3)
    memory: Any = cache._file
    memory.read = lambda *_: (_ for _ in ()).throw(InputError("x.npy: Input/output error"))
    with pytest.raises(InputError):
        cache.load(torch.tensor([5]), [])
    memory.read = Memory().read
    cache.reopen()
    assert torch.equal(cache.table[cache.load(torch.tensor([5]), [])], TABLE[[5]])


def test_a_cleared_cache_reads_all_rows_again() -> None:
    cache = cache_of(10)
    for read in (8, 16):
        slots = cache.load(torch.arange(8), [])
        assert torch.equal(cache.table[slots], TABLE[:8])
        cache.release(slots)
        assert cache.misses == read
        cache.close()
        cache.clear()
        assert cache.table.numel() == 0
        cache.reopen()
    assert (cache.num_slots, cache.hits) == (10, 0)
