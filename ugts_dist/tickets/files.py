"""Files that are written once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ugts_dist.errors import InputError


def check_new(path: Path) -> None:
    """Raise InputError if the file of `--out` exists, or its folder does not."""
    if os.path.lexists(path):
        raise InputError(f"--out is {path}, which exists; allowed is a new file")
    if not path.parent.is_dir():
        raise InputError(f"--out is {path}, but {path.parent} is no folder; allowed is a new file in one that exists")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing under a temporary name. It is renamed after the block, unless that raised an error.

    Raises InputError if the file exists, before or after the block, and if it can't be written.
    """
    check_new(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_new(path)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"--out is {path}, which can't be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
