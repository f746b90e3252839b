"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write under a temporary name, flush to disk, rename; a failed write leaves what was there before."""
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
            error.filename = str(path)  # what a full disk does not tell
        raise


def write_text(path: Path, text: str) -> None:
    """The same for text, as UTF-8."""
    write_file(path, text.encode())


def flush(path: Path) -> None:
    """Flush a file to disk, or a folder's entries, so that what was renamed into it is there after a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
