"""Atomic writes: a file is complete or does not exist."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary file, flush it to disk and rename it. A failed write leaves the old file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # missing in the error of a full disk
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, like `write_file`."""
    write_file(path, text.encode())


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk, so that renamed files survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
