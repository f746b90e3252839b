"""A cache of feature rows that knows the coming accesses, as samples are pure functions of seed and step."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.row_file import RowFile

_NONE = -1


class CacheClosedError(Exception):
    """The batches that waited for room are not needed any more."""


class FeatureCache:
    """Some rows of a table in memory, replaced by Belady's rule: the row that is needed last makes room.

    L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal, 1966. As far
    as the coming batches are known, no rule needs fewer reads. Of rows that none of them needs, those that were used
    least often make room.

    Attributes:
        table: the rows, `[num_slots, width]`; without rows while the cache is cleared.
        num_slots: number of rows that there is memory for.
        hits: rows that were there when they were needed.
        misses: rows that were read.
    """

    def __init__(self, file: RowFile, num_rows: int, table: Tensor) -> None:
        """Args:
        table: memory for the rows, `[num_slots, width]`.
        num_rows: of the whole table.
        """
        self.table, self.hits, self.misses = table, 0, 0
        self._file, self.num_slots = file, table.shape[0]
        self._slot_of = torch.full((num_rows,), _NONE, dtype=torch.int32)
        self._uses = torch.zeros(num_rows, dtype=torch.int32)
        self._row_in = torch.full((self.num_slots,), _NONE, dtype=torch.int64)
        self._batches = torch.zeros(self.num_slots, dtype=torch.int32)  # that were loaded and not released
        self._changed = threading.Condition()
        self._closed = False

    @property
    def bytes_read(self) -> int:
        return self._file.bytes_read

    def load(self, rows: Tensor, coming: Sequence[Tensor]) -> Tensor:
        """The slots of the rows of the next batch, int64 `[num]`, which stay there until they are released.

        Waits until earlier batches have released enough slots.

        Args:
            rows: ids without repetition, int64 `[num]`.
            coming: those of the batches after it, in order.

        Raises: InputError if the cache is smaller than a batch, or the file can't be read. CacheClosedError after
        `close`.
        """
        if rows.numel() > self.num_slots:
            raise InputError(
                f"batch.cache_bytes: a batch reads {rows.numel():,} rows, and a rank's share has room for "
                f"{self.num_slots:,}; allowed are {rows.numel() * self.table[0].nbytes:,} bytes for each rank of a "
                "machine, or more"
            )
        slots = self._slot_of[rows].long()
        missing = (slots == _NONE).nonzero().flatten()
        self._hold(slots[slots != _NONE])
        if missing.numel():
            new, order = rows[missing].sort()
            room = self._room(missing.numel(), coming)
            self._hold(room)
            self._empty(room)
            self._file.read(new, self.table, room)
            self._row_in[room] = new
            self._slot_of[new] = room.int()
            slots[missing[order]] = room
        self._uses[rows] += 1
        self.hits += rows.numel() - missing.numel()
        self.misses += missing.numel()
        return slots

    def release(self, slots: Tensor) -> None:
        """Let the rows of a batch make room for others."""
        with self._changed:
            self._batches[slots] -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """End calls that wait for room."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def reopen(self) -> None:
        """Go on with other batches after `close`. The rows stay, unless the cache was cleared."""
        if not self.table.shape[0]:
            self.table = self.table.new_empty(self.num_slots, self.table.shape[1])
        self._batches.zero_()
        self._closed = False

    def clear(self) -> None:
        """Forget all rows, and return their memory to the system until the cache is reopened."""
        self._slot_of.fill_(_NONE)
        self._row_in.fill_(_NONE)
        self.table = self.table.new_empty(0, self.table.shape[1])

    def _hold(self, slots: Tensor) -> None:
        with self._changed:
            self._batches[slots] += 1

    def _empty(self, slots: Tensor) -> None:
        before = self._row_in[slots]
        self._slot_of[before[before != _NONE]] = _NONE
        self._row_in[slots] = _NONE

    def _room(self, count: int, coming: Sequence[Tensor]) -> Tensor:
        """Slots for new rows, int64 `[count]`: free ones, and those whose rows are needed last."""
        with self._changed:
            while not self._closed and int((self._batches == 0).sum()) < count:
                self._changed.wait()
            if self._closed:
                raise CacheClosedError
            idle = (self._batches == 0).to(torch.uint8)
        left = int(idle.sum())
        for rows in coming:
            slots = self._slot_of[rows].long()
            needed = slots[slots != _NONE]
            needed = needed[idle[needed] == 1]
            idle[needed] = 0
            left -= needed.numel()
            if left < count:  # all others are needed earlier than these, or never
                return torch.cat([idle.nonzero().flatten(), needed[: count - left]])
        unknown = idle.nonzero().flatten()
        uses = self._uses[self._row_in[unknown]].masked_fill_(self._row_in[unknown] == _NONE, 0)
        return unknown[uses.topk(count, largest=False, sorted=False).indices]
