"""The exchange of rows against plain indexing."""

from __future__ import annotations

import dataclasses
import threading

import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.processes import spawn
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.row_exchange import RowExchange

EXAMPLES = 15


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, torch.dtype, list[int], int, int]:
    """Rows, width, type, the number of each rank's part, ranks a host, and the seed of what they ask for."""
    num_rows = draw(st.integers(1, 60))
    order = draw(st.permutations(range(3)))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    return num_rows, draw(st.integers(1, 5)), dtype, order, draw(st.sampled_from([1, 3])), draw(st.integers(0, 99))


def table_of(num_rows: int, width: int, dtype: torch.dtype) -> Tensor:
    return torch.arange(num_rows * width).view(num_rows, width).to(dtype)


def fetched_in_many_ways(rank: int) -> int:
    """Compare with plain indexing; all ranks draw the same examples. Returns the number of rows that were fetched."""
    fetched = 0

    @settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True)
    @given(cases())
    def check(case: tuple[int, int, torch.dtype, list[int], int, int]) -> None:
        nonlocal fetched
        num_rows, width, dtype, order, together, seed = case
        ranks = Ranks(rank, 3, process_group=dist.group.WORLD, order=tuple(order))
        table = table_of(num_rows, width, dtype)
        held = ranks.share(num_rows) if together == 1 else (0, num_rows)
        partly = torch.full_like(table, -1)
        partly[slice(*held)] = table[slice(*held)]
        exchange = RowExchange(partly, held, ranks, 60.0)
        generator = torch.Generator().manual_seed(100 * seed + rank)
        for _ in range(2):
            count = int(torch.randint(0, num_rows + 1, (), generator=generator))
            ids = torch.randperm(num_rows, generator=generator)[:count]
            assert torch.equal(exchange.rows(ids), table[ids])
            away = int(((ids < held[0]) | (ids >= held[1])).sum())
            fetched += away
        dist.destroy_process_group(exchange._group)

    check()
    return fetched


def test_rows_are_those_of_the_whole_table() -> None:
    assert min(spawn(3, fetched_in_many_ways)) > EXAMPLES


def fetched_beside_training(rank: int) -> tuple[int, int, int]:
    """A thread fetches while this one reduces; both orders are the ranks' own."""
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD)
    table = table_of(1000, 8, torch.float32)
    exchange = RowExchange(table, ranks.share(1000), ranks, 60.0)
    ids = [torch.randperm(1000, generator=torch.Generator().manual_seed(2 * k + rank))[:300] for k in range(30)]
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.extend(map(exchange.rows, ids)))
    thread.start()
    for k in range(30):
        assert ranks.all_reduce_sum(torch.full((100,), float(k))).tolist() == [2.0 * k] * 100
    thread.join()
    assert all(torch.equal(rows, table[wanted]) for rows, wanted in zip(found, ids, strict=True))
    return dataclasses.astuple(exchange.traffic)[:3]


def test_a_thread_fetches_while_another_one_trains() -> None:
    for exchanges, rows, fetched in spawn(2, fetched_beside_training):
        assert (exchanges, rows) == (30, 9000)
        assert 4000 < fetched < 5000
