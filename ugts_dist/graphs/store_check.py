"""The check of a store's arrays before they are used for indexing: done once, and recorded with file times."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ugts_dist.atomic import write_text
from ugts_dist.errors import InputError
from ugts_dist.graphs.array_error import ArrayError
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.graph import Graph, validate
from ugts_dist.graphs.store_files import LAYOUT, META, OPTIONAL

CHECKED = ".checked.json"
_VERSION = 1  # of the check: stores are checked again after a change
_CACHE = "~/.cache/ugts_dist/checked"
# File times have a resolution of some milliseconds. A change within that time of the one before is invisible.
_TICK = 100_000_000

Stamp = dict[str, list[int]]
"""Size, time of modification, time of change (both in ns) and inode, by file."""


def stamp(folder: Path) -> Stamp:
    """The properties that show whether a file of the store was changed. Raises InputError if one is missing."""
    stamps = {}
    optional = [f"{array}.npy" for array in OPTIONAL if (folder / f"{array}.npy").exists()]
    for name in (META, *(f"{array}.npy" for array in LAYOUT), *optional):
        with reading(folder / name):
            found = (folder / name).stat()
        stamps[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return stamps


def is_checked(folder: Path) -> bool:
    """Whether the files of a store are recorded as checked. Raises InputError if one is missing."""
    return _is_remembered(_places(folder), stamp(folder))


def check_once(folder: Path, graph: Graph, before: Stamp, remember: bool) -> None:
    """Check the mapped arrays of a store as ``check`` does, unless they are recorded as checked.

    The record is a file in the store's folder, or in ~/.cache if that can't be written. It is valid for files of the
    same size, times and inode, whoever checked them. One process of a machine checks while the others wait. ``before``
    is the stamp that was taken before the arrays were mapped. Without ``remember`` nothing is written. Raises
    InputError as ``check`` does, and if a file changes during the check.
    """
    places = _places(folder)
    if not _is_remembered(places, before):
        with _alone(folder, wait=remember and any(map(_is_writable, places))):
            if not _is_remembered(places, before):
                began = time.time_ns()
                check(folder, graph)
                is_old = all(times[2] + _TICK < began for times in before.values())
                if remember and is_old and stamp(folder) == before:
                    _write_memory(places, before)
    if stamp(folder) != before:
        raise InputError(f"{folder}: its files change while it is opened; wait until it is whole")


def check(folder: Path, graph: Graph) -> None:
    """Read the arrays of a store, in blocks and bounded memory, and compare them with what ``Graph`` promises.

    Raises InputError that names the file.
    """
    try:
        validate(graph)
    except ArrayError as error:
        path = folder / f"{error.array}.npy"
        raise InputError(f"{path}: {error.problem}; it is damaged, prepare the graph again") from error


def _places(folder: Path) -> Sequence[Path]:
    """Files for the record: in the store, or in the user's cache by the store's real path."""
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return folder / CHECKED, Path(_CACHE).expanduser() / f"{key}.json"


def _is_remembered(places: Sequence[Path], files: Stamp) -> bool:
    for place in places:
        # A damaged record is ignored.
        with suppress(OSError, ValueError, RecursionError):
            if json.loads(place.read_text(encoding="utf-8")) == {"version": _VERSION, "files": files}:
                return True
    return False


def _write_memory(places: Sequence[Path], files: Stamp) -> None:
    for place in places:
        # Without a record the check is repeated.
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, json.dumps({"version": _VERSION, "files": files}) + "\n")
            return


def _is_writable(place: Path) -> bool:
    existing = next(parent for parent in place.parents if parent.exists())
    return os.access(existing, os.W_OK)


@contextmanager
def _alone(folder: Path, wait: bool) -> Iterator[None]:
    """One process of this machine at a time, if ``wait``. The lock ends with its process, however that ends."""
    with (folder / META).open("rb") as file:
        if wait:
            # Some network file systems can't lock a file that is open for reading: then each process checks.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
