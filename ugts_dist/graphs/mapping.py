"""Memory mappings of files: which file a tensor is mapped from, and how its pages are read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ugts_dist.available_memory import available_memory

_MANY = 2  # times the bytes of all tensors that must be free to read ahead


@dataclass(frozen=True)
class MappedFile:
    """A file, and the byte at which a tensor begins that is mapped from it."""

    path: Path
    offset: int


def mapped_file(table: Tensor) -> MappedFile | None:
    """The file that a tensor in host memory is mapped from; None if there is none that can be opened.

    Linux only: https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html
    """
    maps = Path("/proc/self/maps")
    if table.device.type != "cpu" or not table.is_contiguous() or not table.numel() or not maps.exists():
        return None
    address = table.data_ptr()
    for line in maps.read_text().splitlines():
        place, _, offset, _, inode, *name = line.split(maxsplit=5)
        begin, end = (int(part, 16) for part in place.split("-"))
        if begin <= address < end and name:
            path = Path(name[0])
            found = path.exists() and path.stat().st_ino == int(inode)  # not the file of that name before
            return MappedFile(path, int(offset, 16) + address - begin) if found else None
    return None


def read_without_ahead(tensors: Iterable[Tensor]) -> None:
    """Let the system read only the pages that are touched, if the memory is too small for the mapped tensors.

    By default it reads some megabytes around each, which displace the pages that are needed. Linux only.
    """
    parts = list(tensors)
    if sys.platform != "linux" or available_memory() >= _MANY * sum(part.nbytes for part in parts):
        return
    library = ctypes.CDLL(None, use_errno=True)
    for part in parts:
        begin = part.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        length = part.data_ptr() + part.nbytes - begin
        library.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_RANDOM)
