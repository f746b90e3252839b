"""Writes a graph as a folder of arrays that can be mapped into memory; the folder appears only when complete."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.atomic import flush
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph, validate
from ugts_dist.graphs.npy_file import NpyFile
from ugts_dist.graphs.store import map_graph
from ugts_dist.graphs.store_files import (
    ARRAYS,
    FORMAT,
    LATER_VERSION,
    LAYOUT,
    LOCK,
    META,
    NUMBERS,
    OPTIONAL,
    PREDICTION_ONLY,
    VERSION,
    is_extra,
    meta_sha256,
    read_header,
    sha256,
    write_header,
)

Origin = Mapping[str, str | int | float | bool]

_BLOCK = 1 << 22  # entries that are copied at once


class StoreWriter:
    """Writes a graph store array by array into a temporary folder beside ``folder``, which is renamed at the end.

    A context manager: without ``finish`` it removes what it wrote. The next writer with the same target removes the
    remains of a killed process. ``class_names`` has a name for each class, or none. Raises InputError if ``folder``
    exists, if another process is writing it, and if the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        num_classes: int,
        origin: Origin | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.name = name
        self.num_classes = num_classes
        self.origin = dict(origin or {})
        self.class_names = tuple(class_names)
        self.temporary = folder.with_name(f".{folder.name}.partial")
        self._dtypes: dict[str, str] = {}
        self._extra_dtypes: dict[str, str] = {}
        self._maps: dict[str, np.memmap[Any, Any]] = {}
        if os.path.lexists(folder):
            raise InputError(f"{folder}: exists already; remove it, or name another folder")
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            for leftover in self.temporary.iterdir():
                if leftover.name != LOCK:
                    leftover.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maps.clear()
        if self.temporary.exists():
            shutil.rmtree(self.temporary, ignore_errors=True)
        self._lock.close()
        if isinstance(error, OSError):
            raise _unwritable(self.folder, error) from error

    def create(self, array: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        """A new array of zeros, to be filled in. Its disk space is reserved at once (else InputError).

        ``array`` is one of indptr, indices, x, y, train, valid and test; optional are edge_weight and edge_attr.
        ``dtype`` uint16 of x means bfloat16.
        """
        path = self._new(array, dtype)
        try:
            with path.open("xb") as file:
                write_header(file, dtype, shape)
                # A write to mapped memory on a full disk would kill the process.
                os.posix_fallocate(file.fileno(), 0, file.tell() + math.prod(shape) * dtype.itemsize)
            self._maps[array] = npy.open_memmap(path, mode="r+")
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return self._maps[array]

    def open(self, array: str, dtype: np.dtype[Any], row: tuple[int, ...] = ()) -> NpyFile:
        """A new array, to which blocks of rows of shape `row` are appended without mapping it."""
        return NpyFile(self._new(array, dtype), dtype, row)

    def write(self, array: str, dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]], row: tuple[int, ...] = ()) -> int:
        """Write an array in blocks, without mapping it. Returns its length.

        ``blocks`` are [any length, *row]; other dtypes are converted.
        """
        return _write_blocks(self.open(array, dtype, row), blocks)

    def write_extra(
        self, array: str, dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]], row: tuple[int, ...] = ()
    ) -> int:
        """Write an array that is not part of the graph, such as the node ids of the user's files.

        ``array`` is a name of small letters, digits and underscores; ``open_extra`` opens it. The checksum of the graph
        does not depend on it.
        """
        if not is_extra(array, dtype.name) or array in self._extra_dtypes:
            raise InputError(f"{self.folder}: {array!r} of {dtype.name} cannot be an extra array of a graph store")
        self._extra_dtypes[array] = dtype.name
        return _write_blocks(NpyFile(self.temporary / f"{array}.npy", dtype, row), blocks)

    def finish(self) -> None:
        """Check the graph as ``graph.validate`` does, compute the checksums, flush to disk, rename.

        Raises InputError if an array is missing or wrong, and if the disk fails.
        """
        for array in self._maps.values():
            array.flush()
        self._maps.clear()
        if len(self.class_names) not in (0, self.num_classes):
            raise InputError(
                f"{self.folder}: {len(self.class_names)} class names; allowed: {self.num_classes}, or none"
            )
        missing = [array for array in LAYOUT if array not in self._dtypes]
        if missing:
            raise InputError(f"{self.folder}: {', '.join(missing)} not written; allowed: {', '.join(LAYOUT)}")
        try:
            validate(map_graph(self.temporary, self.name, self.num_classes, self._dtypes))
            meta = self._meta()
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self.publish(meta)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Write meta.json for the files that are in the temporary folder, flush to disk, rename.

        Raises InputError if the disk fails.
        """
        try:
            with (self.temporary / META).open("x", encoding="utf-8") as file:
                json.dump(meta, file, indent=2)
                file.write("\n")
            for path in (*self.temporary.iterdir(), self.temporary):
                flush(path)
            # Fails if the target was created in the meantime, unless it is an empty folder.
            self.temporary.rename(self.folder)
            (self.folder / LOCK).unlink()
            flush(self.folder.parent)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _new(self, array: str, dtype: np.dtype[Any]) -> Path:
        name = "bfloat16" if array == "x" and dtype == np.uint16 else dtype.name
        if array not in ARRAYS or name not in ARRAYS[array][1] + (NUMBERS[1] if array == "y" else ()):
            allowed = ", ".join(f"{known} of {' or '.join(dtypes)}" for known, (_, dtypes) in ARRAYS.items())
            raise InputError(f"{self.folder}: {array} of {name} is no part of a graph store; allowed: {allowed}")
        self._dtypes[array] = name
        return self.temporary / f"{array}.npy"

    def _meta(self) -> dict[str, Any]:
        arrays, extra = self._described(self._dtypes), self._described(self._extra_dtypes)
        is_later = bool(OPTIONAL.keys() & arrays.keys()) or len(arrays["y"]["shape"]) == 2
        meta = {
            "format": FORMAT,
            "version": LATER_VERSION if is_later else VERSION,
            "name": self.name,
            "num_nodes": arrays["x"]["shape"][0],
            "num_edges": arrays["indices"]["shape"][0],
            "num_features": arrays["x"]["shape"][1],
            "num_classes": self.num_classes,
            "arrays": arrays,
            "origin": self.origin,
        }
        if arrays["train"]["shape"] == [0]:
            meta[PREDICTION_ONLY] = True
        if self.class_names:
            meta["class_names"] = list(self.class_names)
        if extra:
            meta["extra_arrays"] = extra
        return meta | {"sha256": meta_sha256(meta)}

    def _described(self, dtypes: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """The entries of meta.json for the arrays."""
        described = {}
        for array, dtype in dtypes.items():
            path = self.temporary / f"{array}.npy"
            described[array] = {"dtype": dtype, "shape": list(read_header(path)[0]), "sha256": sha256(path)}
        return described

    def _locked(self) -> BinaryIO:
        """The lock file of the temporary folder, held until it is closed or this process ends in any way."""
        path = self.temporary / LOCK
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have renamed the folder between opening and locking.
            held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            held = False
        if not held:
            file.close()
            raise InputError(f"{self.folder}: another process is preparing it; wait for it, or name another folder")
        return file


def _write_blocks(file: NpyFile, blocks: Iterable[NDArray[Any]]) -> int:
    """Write all blocks. Returns the number of rows."""
    with file:
        for block in blocks:
            file.append(block)
    return file.num_rows


def write_store(graph: Graph, folder: Path, origin: Origin | None = None) -> None:
    """Write a graph as a store. Raises InputError as StoreWriter does."""
    with StoreWriter(folder, graph.name, graph.num_classes, origin, graph.class_names) as writer:
        for array in ARRAYS:
            tensor: Tensor | None = getattr(graph, array)
            if tensor is None:
                continue
            if tensor.dtype == torch.bfloat16:
                tensor = tensor.view(torch.uint16)
            rows = max(1, _BLOCK // max(1, math.prod(tensor.shape[1:])))
            values = tensor.numpy()
            blocks = (values[start : start + rows] for start in range(0, len(values), rows))
            writer.write(array, values.dtype, blocks, values.shape[1:])
        writer.finish()


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: cannot be written ({error.strerror or error}); nothing is left of it")
