"""Tables with a row for every node, which the ranks fill together: one copy per machine, or per GPU."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError

_SHARED_MEMORY = Path("/dev/shm")
_ROWS_SENT = 1 << 16  # rows per broadcast


class NodeTables:
    """Makes tables that every rank of a machine sees, and completes them after each rank has written its rows.

    On a GPU each rank has its own table. In host memory the ranks of a machine share a memory-mapped file without a
    name, whose memory is free as soon as nobody holds the table. `spill` names a folder on disk for these files;
    without it they are in shared memory.
    """

    def __init__(self, num_nodes: int, ranks: Ranks, device: torch.device, spill: str = "") -> None:
        self._num_nodes, self._ranks, self._device, self._spill = num_nodes, ranks, device, spill
        self._machines = ranks.machines()
        self._leader = self._machines.index(ranks.machine_id)  # the first rank of this machine

    def empty(self, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised table `[num_nodes, width]`. Collective.

        Raises InputError, on every rank, if there is no room, and if a rank does not see its machine's file.
        """
        shape = (self._num_nodes, width)
        if self._device.type != "cpu" or (self._ranks.world_size == 1 and not self._spill):
            return torch.empty(shape, dtype=dtype, device=self._device)
        size = self._num_nodes * width * dtype.itemsize
        path = self._ranks.raise_together(lambda: self._new_file(size) if self._ranks.rank == self._leader else "")
        path = self._ranks.all_gather_object(path)[self._leader]
        try:
            self._ranks.raise_together(lambda: self._check_seen(path, size))
            table = torch.from_file(path, shared=True, size=self._num_nodes * width, dtype=dtype)
            self._ranks.barrier()
        finally:
            if self._ranks.rank == self._leader:
                os.unlink(path)
        return table.view(shape)

    def own(self, width: int) -> Tensor:
        """An uninitialised float32 table `[num_rows, width]` of this rank's nodes, which no other rank sees.

        Collective. Raises InputError if there is no room.
        """
        start, stop = self._ranks.share(self._num_nodes)
        shape = (stop - start, width)
        if self._device.type != "cpu" or not self._spill:
            return torch.empty(shape, device=self._device)
        size = shape[0] * width
        path = self._ranks.raise_together(lambda: self._new_file(size * torch.float32.itemsize))
        table = torch.from_file(path, shared=True, size=size, dtype=torch.float32)
        os.unlink(path)
        return table.view(shape)

    def complete(self, tables: Sequence[Tensor]) -> None:
        """Wait until every row of the tables is written, by any rank. Collective."""
        if self._ranks.world_size == 1:
            return
        if self._device.type != "cpu" or len(set(self._machines)) > 1:
            for table in tables:
                for source in range(self._ranks.world_size):
                    self._send(table, source)
        # Other ranks write rows of a shared table after this one has taken part.
        self._ranks.barrier()

    def _send(self, table: Tensor, source: int) -> None:
        """Send one rank's rows to every machine (or GPU) that lacks them."""
        ours = self._ranks.rank == source
        lacking = self._device.type != "cpu" or self._machines[source] != self._ranks.machine_id
        keeps = lacking and (self._device.type != "cpu" or self._ranks.rank == self._leader)
        for start, stop in pieces(*self._ranks.share_of(self._num_nodes, source), _ROWS_SENT):
            rows = table[start:stop]
            # A rank that shares the table with the keeper of the rows receives them for nothing: all must take part.
            dist.broadcast(rows if ours or keeps else torch.empty_like(rows), source, group=self._ranks.process_group)

    def _check_seen(self, path: str, size: int) -> None:
        """Check that this rank sees the file of its machine's first rank; containers may have no folder in common.

        Raises InputError otherwise.
        """
        try:
            seen = os.stat(path).st_size == max(1, size)
        except OSError:
            seen = False
        if not seen:
            raise InputError(
                f"run.spill is {self._spill!r}: rank {self._ranks.rank} on {self._ranks.machine} does not see "
                f"{path}, which rank {self._leader} made on the same machine (are they in different containers?); "
                "allowed is a folder that both see"
            )

    def _new_file(self, size: int) -> str:
        """A file of this size with reserved space, so that a full disk is an error here and not during writing."""
        folder = Path(self._spill) if self._spill else _memory_folder(size)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number, path = tempfile.mkstemp(prefix=".ugts-table-", dir=folder)
        except OSError as error:
            raise InputError(f"run.spill: {folder} can't be written to ({error.strerror})") from None
        try:
            os.posix_fallocate(number, 0, max(1, size))
        except OSError as error:
            os.unlink(path)
            raise InputError(
                f"evaluation: a table of {size / 2**30:.2f} GiB for all nodes does not fit into {folder} "
                f"({error.strerror}); name a folder with more room as run.spill"
            ) from None
        finally:
            os.close(number)
        return path


def pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """The range from `start` to `stop` in pieces of at most `size`."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def _memory_folder(size: int) -> Path:
    """Shared memory if it has room (containers often have 64 MiB of it), otherwise the temporary folder."""
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > size:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())
