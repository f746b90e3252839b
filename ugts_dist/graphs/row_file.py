"""Rows of a table that is mapped from a file, read past the page cache in the order of their place."""

from __future__ import annotations

import itertools
import math
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.mapping import MappedFile

_BLOCK = 4096  # bytes; reads past the page cache begin and end at multiples
_GAP = 4 * _BLOCK  # bytes between two rows up to which one read is faster than two
_LONGEST = 1 << 20  # bytes of one read
_BUFFER = 2 << 20  # bytes that a thread reads before it copies the rows
_THREADS = 8  # reads in flight


class RowFile:
    """Reads rows of a table `[num_rows, width]` from its file, several at a time.

    Neighbouring rows are read together, with what lies between them. The pages do not stay in the page cache, where
    they would displace the graph's edges; file systems without such reads (O_DIRECT) are read as usual.

    Attributes:
        bytes_read: so far.
    """

    def __init__(self, table: Tensor, file: MappedFile) -> None:
        self._dtype, self._width, self._file = table.dtype, table.shape[1], file
        self._row_bytes = table.shape[1] * table.element_size()
        self._unit = math.gcd(self._row_bytes, _BLOCK, file.offset)  # all rows begin at multiples of it
        self._end = file.offset + table.nbytes
        self._descriptor = _opened(file.path)
        self._pool = ThreadPoolExecutor(_THREADS, "reading")
        self.bytes_read = 0

    def close(self) -> None:
        """End the threads and close the file."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        os.close(self._descriptor)

    def read(self, rows: Tensor, out: Tensor, slots: Tensor) -> None:
        """Read rows into `out[slots]`.

        Args:
            rows: ids, ascending without repetition, int64 `[num]`.
            out: `[num_slots, width]`, of the table's dtype.
            slots: int64 `[num]`.

        Raises: InputError, in one line that names the file, if it can't be read.
        """
        spans = _spans(self._file.offset + rows * self._row_bytes, self._row_bytes)
        self.bytes_read += int((spans.end - spans.begin).sum())
        parts = [
            self._pool.submit(self._read, spans, first, last, rows, out, slots) for first, last in spans.portions()
        ]
        try:
            for part in parts:
                part.result()
        except OSError as error:
            raise InputError(f"{self._file.path}: {error.strerror or error}, while rows of it were read") from error

    def _read(self, spans: _Spans, first: int, last: int, rows: Tensor, out: Tensor, slots: Tensor) -> None:
        """Read some spans one after the other into a buffer, and copy their rows."""
        begins, ends = spans.begin[first:last], spans.end[first:last]
        starts = (ends - begins).cumsum(0) - (ends - begins)  # of each span in the buffer
        memory = memoryview(mmap.mmap(-1, int((ends - begins).sum())))  # begins at a page, as such reads require
        for begin, end, start in zip(begins.tolist(), ends.tolist(), starts.tolist(), strict=True):
            reached = begin + _fill(memory[start : start + end - begin], self._descriptor, begin)
            if reached < min(end, self._end):
                raise InputError(f"{self._file.path}: has no byte {reached:,}, allowed are {self._end:,} bytes")
        own = slice(int(spans.first_row[first]), int(spans.first_row[last]))
        span = torch.repeat_interleave(torch.arange(last - first), spans.first_row[first : last + 1].diff())
        place = self._file.offset + rows[own] * self._row_bytes - begins[span] + starts[span]
        buffer = torch.frombuffer(memory, dtype=self._dtype)
        step = self._unit // out.element_size()
        count = (buffer.numel() - self._width) // step + 1
        overlapping = buffer.as_strided((count, self._width), (step, 1))
        out.index_copy_(0, slots[own], overlapping.index_select(0, place // self._unit))


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
        """Consecutive spans that fit into a buffer together, equal work for all threads: first and last + 1."""
        sizes = self.end - self.begin
        total = int(sizes.sum())
        share = max(1, min(_BUFFER, -(-total // _THREADS)))
        number = (sizes.cumsum(0) - 1) // share
        bounds = [0, *(number.diff().nonzero().flatten() + 1).tolist(), sizes.numel()]
        yield from ((first, last) for first, last in itertools.pairwise(bounds) if first < last)


def _spans(offsets: Tensor, size: int) -> _Spans:
    """The spans for rows of this size that begin at these bytes, ascending."""
    begin = offsets // _BLOCK * _BLOCK
    end = (offsets + size + _BLOCK - 1) // _BLOCK * _BLOCK
    if not offsets.numel():
        return _Spans(begin, end, torch.zeros(1, dtype=torch.int64))
    apart = begin[1:] - end[:-1] > _GAP
    other = begin[1:] // _LONGEST != begin[:-1] // _LONGEST
    first = torch.cat([torch.tensor([0]), (apart | other).nonzero().flatten() + 1])
    last = torch.cat([first[1:] - 1, torch.tensor([offsets.numel() - 1])])
    return _Spans(begin[first], end[last], torch.cat([first, torch.tensor([offsets.numel()])]))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    except OSError:
        return os.open(path, os.O_RDONLY)


def _fill(buffer: memoryview, descriptor: int, offset: int) -> int:
    """Fill a buffer from a place in a file, up to the file's end: the number of bytes. Raises OSError."""
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if not count:
            break
        done += count
    return done
