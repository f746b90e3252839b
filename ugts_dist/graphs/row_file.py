"""Rows of a table that is mapped from a file, read past the page cache in the order of their place."""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.direct_reads import DirectReads, Places
from ugts_dist.graphs.mapping import MappedFile

_GAP = 1 << 14  # bytes between two rows up to which one read is faster than two
_LONGEST = 1 << 20  # bytes of one read
_BUFFER = 8 << 20  # bytes that are read before their rows are copied
_MOST_READS = 1024  # in flight, in one of two buffers
_THREADS = 8  # reads in flight where there are no direct ones


class RowFile:
    """Reads rows of a table `[num_rows, width]` from its file, many at a time.

    Neighbouring rows are read together, with what lies between them. The pages do not stay in the page cache, where
    they would displace the graph's edges. Where there are no such reads, the file is read as usual.

    Attributes:
        bytes_read: so far.
        close: closes the file, as does the end of this object.
    """

    def __init__(self, table: Tensor, file: MappedFile) -> None:
        self._dtype, self._width, self._file = table.dtype, table.shape[1], file
        self._row_bytes = table.shape[1] * table.element_size()
        self._end = file.offset + table.nbytes
        size = max(_BUFFER, 2 * (_LONGEST + self._row_bytes))
        self._buffers = [np.frombuffer(mmap.mmap(-1, size), np.uint8) for _ in range(2)]  # they begin at a page
        self._readers = [_reader(file.path) for _ in self._buffers]  # while one reads, rows of the other are copied
        self.close = weakref.finalize(self, _close, self._readers)
        self._block = self._readers[0].block
        self._unit = math.gcd(self._row_bytes, self._block, file.offset)  # all rows begin at multiples of it
        self.bytes_read = 0

    def read(self, rows: Tensor, out: Tensor, slots: Tensor) -> None:
        """Read rows into `out[slots]`.

        Args:
            rows: ids, ascending without repetition, int64 `[num]`.
            out: `[num_slots, width]`, of the table's dtype.
            slots: int64 `[num]`.

        Raises: InputError, in one line that names the file, if it can't be read.
        """
        spans = _spans(self._file.offset + rows * self._row_bytes, self._row_bytes, self._block)
        self.bytes_read += int((spans.end - spans.begin).sum())
        parts = [_Part(spans, number % 2, *bounds) for number, bounds in enumerate(spans.portions())]
        try:
            for part, following in itertools.zip_longest(parts, parts[1:]):
                if part is parts[0]:
                    self._start(part)
                if following is not None:
                    self._start(following)
                self._finish(part, rows, out, slots)
        except OSError as error:
            raise InputError(f"{self._file.path}: {error.strerror or error}, while rows of it were read") from error
        finally:
            for reader in self._readers:  # after an error, one may still write into its buffer
                with contextlib.suppress(OSError):
                    reader.wait()

    def _start(self, part: _Part) -> None:
        offsets, sizes = part.begins.numpy(), (part.ends - part.begins).numpy()
        self._readers[part.buffer].start(self._buffers[part.buffer], offsets, sizes, part.places.numpy())

    def _finish(self, part: _Part, rows: Tensor, out: Tensor, slots: Tensor) -> None:
        """Wait for a part, and copy its rows."""
        reached = part.begins + torch.from_numpy(self._readers[part.buffer].wait())
        short = reached < part.ends.clamp(max=self._end)
        if short.any():
            raise InputError(
                f"{self._file.path}: has no byte {int(reached[short][0]):,}, allowed are {self._end:,} bytes"
            )
        own, span = part.rows()
        place = self._file.offset + rows[own] * self._row_bytes - part.begins[span] + part.places[span]
        buffer = torch.from_numpy(self._buffers[part.buffer])[: part.size].view(self._dtype)
        step = self._unit // out.element_size()
        count = (buffer.numel() - self._width) // step + 1
        overlapping = buffer.as_strided((count, self._width), (step, 1))
        out.index_copy_(0, slots[own], overlapping.index_select(0, place // self._unit))


class PlainReads:
    """The same as `DirectReads`, by threads and through the page cache."""

    block = 4096

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._pool = ThreadPoolExecutor(_THREADS, "reading")
        self._waiting: list[Future[int]] = []

    def close(self) -> None:
        """Wait for reads that are in flight, and close the file."""
        self._pool.shutdown()
        os.close(self._file)

    def start(self, memory: NDArray[np.uint8], offsets: Places, sizes: Places, places: Places) -> None:
        """See `DirectReads`."""
        view = memoryview(memory)  # type: ignore[arg-type]  # an array has a buffer
        for offset, size, place in zip(offsets.tolist(), sizes.tolist(), places.tolist(), strict=True):
            self._waiting.append(self._pool.submit(os.preadv, self._file, [view[place : place + size]], offset))

    def wait(self) -> Places:
        """See `DirectReads`."""
        waiting, self._waiting = self._waiting, []
        done = [read.exception() for read in waiting]
        for error in done:
            if error is not None:
                raise error
        return np.array([read.result() for read in waiting], np.int64)


def _close(readers: Iterable[DirectReads | PlainReads]) -> None:
    for reader in readers:
        reader.close()


def _reader(path: Path) -> DirectReads | PlainReads:
    try:
        return DirectReads(path, _MOST_READS)
    except OSError:
        return PlainReads(path)


@dataclass(frozen=True)
class _Spans:
    """Aligned parts of a file that hold rows, ascending.

    Attributes:
        begin: byte, int64 `[num_spans]`.
        end: byte after it, int64 `[num_spans]`.
        first_row: number of the first row of each span, and of all rows, int64 `[num_spans + 1]`.
    """

    begin: Tensor
    end: Tensor
    first_row: Tensor

    def portions(self) -> Iterator[tuple[int, int]]:
        """Consecutive spans that fit into a buffer together: first and last + 1."""
        ends = (self.end - self.begin).cumsum(0).tolist()
        first = before = 0
        for last, end in enumerate(ends):
            if last > first and (end - before > _BUFFER or last - first == _MOST_READS):
                yield first, last
                first, before = last, ends[last - 1]
        if ends:
            yield first, len(ends)


class _Part:
    """Spans that are read into one of the buffers at once.

    Attributes:
        buffer: its number.
        begins: of the spans in the file, int64 `[num_spans]`.
        ends: int64 `[num_spans]`.
        places: of the spans in the buffer, int64 `[num_spans]`.
        size: of the part of the buffer that is used, in bytes.
    """

    def __init__(self, spans: _Spans, buffer: int, first: int, last: int) -> None:
        self.buffer = buffer
        self.begins, self.ends = spans.begin[first:last], spans.end[first:last]
        sizes = self.ends - self.begins
        self.places, self.size = sizes.cumsum(0) - sizes, int(sizes.sum())
        self._first_row = spans.first_row[first : last + 1]

    def rows(self) -> tuple[slice, Tensor]:
        """The rows of these spans among all, and the span of each, int64 `[num]`."""
        first, last = self._first_row[[0, -1]].tolist()
        spans = torch.arange(self._first_row.numel() - 1)
        return slice(first, last), torch.repeat_interleave(spans, self._first_row.diff())


def _spans(offsets: Tensor, size: int, block: int) -> _Spans:
    """The spans for rows of this size that begin at these bytes, ascending; they consist of whole blocks."""
    begin = offsets // block * block
    end = (offsets + size + block - 1) // block * block
    if not offsets.numel():
        return _Spans(begin, end, torch.zeros(1, dtype=torch.int64))
    apart = begin[1:] - end[:-1] > _GAP
    other = begin[1:] // _LONGEST != begin[:-1] // _LONGEST
    first = torch.cat([torch.tensor([0]), (apart | other).nonzero().flatten() + 1])
    last = torch.cat([first[1:] - 1, torch.tensor([offsets.numel() - 1])])
    return _Spans(begin[first], end[last], torch.cat([first, torch.tensor([offsets.numel()])]))
