"""Memory mappings of files: which file a tensor is mapped from, and how its pages are read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ugts_dist.available_memory import available_memory

_ADVISED = 1 << 17  # bytes that are advised at once: of more, the kernel reads only as much as its read-ahead is
_ENOUGH = 1.25  # times the bytes of all tensors that must be free to read ahead


@dataclass(frozen=True)
class MappedFile:
    """A file, and the byte at which a tensor begins that is mapped from it."""

    path: Path
    offset: int


def mapped_file(table: Tensor) -> MappedFile | None:
    """The file that a tensor in host memory is mapped from; None if there is none that can be opened."""
    mapping = _mapping(table)
    if mapping is None or not table.is_contiguous():
        return None
    path = Path(mapping.name)
    same = path.exists() and path.stat().st_ino == mapping.inode  # not another file that has the name now
    return MappedFile(path, mapping.offset) if same else None


def is_on_disk(table: Tensor) -> bool:
    """Whether a tensor is mapped from a file outside of shared memory, which may have lost its name."""
    mapping = _mapping(table)
    return mapping is not None and not mapping.name.startswith("/dev/shm/")


class _Mapping(NamedTuple):
    name: str
    inode: int
    offset: int  # of the tensor in the file


def _mapping(table: Tensor) -> _Mapping | None:
    """Linux only: https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html"""
    maps = Path("/proc/self/maps")
    if table.device.type != "cpu" or not table.numel() or not maps.exists():
        return None
    address = table.data_ptr()
    for line in maps.read_text().splitlines():
        place, _, offset, _, inode, *name = line.split(maxsplit=5)
        begin, end = (int(part, 16) for part in place.split("-"))
        if begin <= address < end:
            is_file = bool(name) and name[0].startswith("/")
            return _Mapping(name[0], int(inode), int(offset, 16) + address - begin) if is_file else None
    return None


def read_soon(table: Tensor) -> None:
    """Let the system read all pages of a mapped tensor now, one after the other. Linux only."""
    if sys.platform == "linux":
        begin = table.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        end = table.data_ptr() + table.nbytes
        for start in range(begin, end, _ADVISED):
            _advise(start, min(_ADVISED, end - start), mmap.MADV_WILLNEED)


def read_without_ahead(tensors: Iterable[Tensor]) -> None:
    """Let the system read only the pages that are touched, if the memory is too small for the mapped tensors.

    By default it reads some megabytes around each, which displace the pages that are needed. Linux only.
    """
    parts = [tensor for tensor in tensors if is_on_disk(tensor)]
    if available_memory() >= _ENOUGH * sum(part.nbytes for part in parts):
        return
    for part in parts:
        begin = part.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        _advise(begin, part.data_ptr() + part.nbytes - begin, mmap.MADV_RANDOM)


def _advise(begin: int, length: int, advice: int) -> None:
    """Advice is no order: what the system refuses is left as it is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), advice)
