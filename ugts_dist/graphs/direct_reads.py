"""Many reads of a file at once, past the page cache, by the asynchronous I/O of Linux.

One call starts all reads and another waits for them, without a thread or Python code for each. Interface: io_setup(2),
io_submit(2), io_getevents(2), linux/aio_abi.h. Unlike io_uring, containers allow it by default.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SETUP, _DESTROY, _SUBMIT, _GET_EVENTS = range(4)
_CALLS = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}  # numbers of the system calls, by machine
_REQUEST = np.dtype(
    [
        *(("number", "u8"), ("key", "u4"), ("flags", "u4"), ("opcode", "u2"), ("priority", "i2"), ("file", "u4")),
        *(("buffer", "u8"), ("size", "u8"), ("offset", "i8"), ("reserved", "u8"), ("flags2", "u4"), ("event", "u4")),
    ]
)
_BLOCKS = (512, 4096)  # sizes of a device's logical blocks
_EVENT = np.dtype([("number", "u8"), ("request", "u8"), ("result", "i8"), ("result2", "i8")])

Places = NDArray[np.int64]


class DirectReads:
    """Reads of one file into memory that begins at a page, all of them in flight at once.

    Attributes:
        block: bytes, of which offsets, sizes and places in memory are multiples.

    Raises: OSError if the system, or the file's own one, has no such reads.
    """

    def __init__(self, path: Path, most: int) -> None:
        """`most`: largest number of reads at a time."""
        calls = _CALLS.get(platform.machine()) if sys.platform == "linux" and sys.byteorder == "little" else None
        if calls is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._calls = calls
        self._context = ctypes.c_ulong(0)
        self._file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self._requests = np.zeros(0, _REQUEST)  # of the reads in flight
        try:
            self._call(_SETUP, most, ctypes.byref(self._context))
        except OSError:
            os.close(self._file)
            raise
        self.block = next((block for block in _BLOCKS if self._reads(block)), 0)
        if not self.block:
            self.close()
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def close(self) -> None:
        """Wait for reads that are in flight, and close the file."""
        self._call(_DESTROY, self._context)
        os.close(self._file)

    def start(self, memory: NDArray[np.uint8], offsets: Places, sizes: Places, places: Places) -> None:
        """Begin to read parts of the file; all before must have been waited for. Raises OSError.

        Args:
            memory: begins at a page, and stays until they are waited for.
            offsets: in the file, multiples of a block, `[num]`.
            sizes: in bytes, multiples of a block, `[num]`.
            places: in the memory, `[num]`.
        """
        self._requests = np.zeros(offsets.size, _REQUEST)
        self._requests["number"], self._requests["file"] = np.arange(offsets.size), self._file
        self._requests["buffer"], self._requests["size"] = memory.ctypes.data + places, sizes
        self._requests["offset"] = offsets
        pointers = self._requests.ctypes.data + _REQUEST.itemsize * np.arange(offsets.size, dtype=np.uint64)
        done = 0
        try:
            while done < offsets.size:
                place = ctypes.c_void_p(pointers[done:].ctypes.data)
                done += self._call(_SUBMIT, self._context, offsets.size - done, place)
        finally:
            self._requests = self._requests[:done]  # the others were not started, and would be waited for in vain

    def wait(self) -> Places:
        """Wait for all reads that were started: the number of bytes that each has read, `[num]`. Raises OSError."""
        count, self._requests = self._requests.size, self._requests[:0]
        events = np.zeros(count, _EVENT)
        done = 0
        while done < count:
            place = ctypes.c_void_p(events[done:].ctypes.data)
            try:
                done += self._call(_GET_EVENTS, self._context, count - done, count - done, place, None)
            except InterruptedError:
                continue
        read = np.zeros(count, np.int64)
        read[events["number"]] = events["result"]
        if count and read.min() < 0:
            raise OSError(-int(read.min()), os.strerror(-int(read.min())))
        return read

    def _reads(self, block: int) -> bool:
        """Whether blocks of this size can be read."""
        one = np.array([block], np.int64)
        try:
            self.start(np.frombuffer(mmap.mmap(-1, 2 * block), np.uint8), one, one, one)
            self.wait()
        except OSError:
            return False
        return True

    def _call(self, call: int, *arguments: Any) -> int:
        result = int(_library().syscall(ctypes.c_long(self._calls[call]), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)  # calls release the interpreter's lock
    library.syscall.restype = ctypes.c_long
    return library
