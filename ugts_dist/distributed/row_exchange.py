"""Rows of a table of which each host has a part, fetched from the ranks that have them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.index_type import index_type


@dataclass
class Traffic:
    """What a rank has exchanged so far.

    Attributes:
        exchanges: their number.
        rows: that this rank needed.
        fetched: those of other hosts.
        received: bytes of these rows, and of the ids that others asked for.
        seconds: in exchanges, which wait for the slowest rank.
    """

    exchanges: int = 0
    rows: int = 0
    fetched: int = 0
    received: int = 0
    seconds: float = 0.0


class RowExchange:
    """Fetches rows of a table `[num_rows, width]`. Rank r answers for the rows of `ranks.share_of(num_rows, r)`.

    It has a process group of its own, so that a thread may fetch while another one trains; every rank fetches equally
    often. To make it is collective.

    Args:
        table: on the CPU. Rows that this host lacks are never read.
        held: first row that this host has, and the one after the last.
        timeout: of an exchange, in seconds.
    """

    def __init__(self, table: Tensor, held: tuple[int, int], ranks: Ranks, timeout: float) -> None:
        self._table, (self._start, self._stop) = table, held
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
        parts = sorted((ranks.share_of(table.shape[0], rank)[1], rank) for rank in range(ranks.world_size))
        self._ends, self._rank_of = torch.tensor(parts).t().contiguous()
        self._world_size, self._index = ranks.world_size, index_type(table.shape[0])
        self.traffic = Traffic()

    def rows(self, ids: Tensor) -> Tensor:
        """The rows with these ids, in their order, `[num, width]` of the table's dtype. Collective.

        Args:
            ids: int64 `[num]`, on the CPU.
        """
        began, table = time.perf_counter(), self._table
        is_here = (ids >= self._start) & (ids < self._stop)
        here, away = is_here.nonzero().flatten(), (~is_here).nonzero().flatten()
        owners, order = self._rank_of[torch.searchsorted(self._ends, ids[away], right=True)].sort(stable=True)
        away, asked = away[order], owners.bincount(minlength=self._world_size)
        to_answer = self._sent(asked, [1] * self._world_size, [1] * self._world_size)
        wanted = self._sent(ids[away].to(self._index), asked.tolist(), to_answer.tolist())
        answers = table.index_select(0, wanted)
        fetched = self._sent(answers.view(torch.uint8), to_answer.tolist(), asked.tolist()).view(table.dtype)
        found = table.new_empty(ids.numel(), table.shape[1])
        found[here], found[away] = table.index_select(0, ids[here]), fetched
        self._count(ids, fetched, wanted, time.perf_counter() - began)
        return found

    def _sent(self, values: Tensor, counts: list[int], to_come: list[int]) -> Tensor:
        """What the ranks have sent to this one, by rank, after it has sent `counts` of the values to each of them."""
        received = values.new_empty(sum(to_come), *values.shape[1:])
        dist.all_to_all_single(received, values, to_come, counts, group=self._group)
        return received

    def _count(self, ids: Tensor, fetched: Tensor, wanted: Tensor, seconds: float) -> None:
        traffic = self.traffic
        traffic.exchanges += 1
        traffic.rows += ids.numel()
        traffic.fetched += fetched.shape[0]
        traffic.received += fetched.nbytes + wanted.nbytes
        traffic.seconds += seconds
