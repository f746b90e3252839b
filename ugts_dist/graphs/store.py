"""One graph as a folder of memory-mapped arrays, written once and shared by every process of a machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_files import META, Meta, check_file, read_meta, sha256


def is_store(folder: Path) -> bool:
    """Whether the folder has the file that is written last."""
    return (folder / META).is_file()


def open_store(folder: Path) -> Graph:
    """Open a store memory-mapped and read-only: a write into its tensors ends the process.

    Cheap, whatever the size: meta.json, names, shapes, dtypes and file sizes are checked, the checksums by
    ``verify_store`` only. Raises InputError, in one line that names the file.
    """
    meta = _described(folder)
    graph = map_graph(
        folder, meta.name, meta.num_classes, {array: dtype for array, (dtype, _, _) in meta.arrays.items()}
    )
    graph = replace(graph, digests={array: digest for array, (_, _, digest) in meta.arrays.items()})
    if int(graph.indptr[0]) != 0 or int(graph.indptr[-1]) != graph.num_edges:
        found = f"{int(graph.indptr[0])} to {int(graph.indptr[-1])}"
        raise InputError(f"{folder / 'indptr.npy'}: runs from {found}, allowed is 0 to {graph.num_edges}")
    return graph


def open_extra(folder: Path, array: str) -> NDArray[Any] | None:
    """An extra array of a store, memory-mapped and read-only; None where the store has no such array.

    Raises InputError where its file is missing, or has another size, shape or dtype than meta.json says.
    """
    described = read_meta(folder).extra_arrays.get(array)
    if described is None:
        return None
    path = folder / f"{array}.npy"
    check_file(path, described[0], described[1])
    with reading(path):
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def verify_store(folder: Path) -> None:
    """Compare every array with its SHA-256 in meta.json. Raises InputError that names each file that differs."""
    wrong = []
    meta = _described(folder)
    for array, (_, _, digest) in (meta.arrays | meta.extra_arrays).items():
        path = folder / f"{array}.npy"
        with reading(path):
            if sha256(path) != digest:
                wrong.append(path.name)
    if wrong:
        raise InputError(
            f"{folder}: {', '.join(wrong)} changed since written (SHA-256 differs); prepare the graph again"
        )


def _described(folder: Path) -> Meta:
    """The contents of meta.json, to which all files have the right size, shape and dtype."""
    meta = read_meta(folder)
    for array, (dtype, shape, _) in (meta.arrays | meta.extra_arrays).items():
        check_file(folder / f"{array}.npy", dtype, shape)
    return meta


def map_graph(folder: Path, name: str, num_classes: int, dtypes: Mapping[str, str]) -> Graph:
    """The arrays of a store, mapped into memory and not looked at; ``dtypes`` as in meta.json."""
    tensors: dict[str, Any] = {array: _tensor(folder / f"{array}.npy", dtype) for array, dtype in dtypes.items()}
    return Graph(name=name, num_classes=num_classes, **tensors)


def _tensor(path: Path, dtype: str) -> Tensor:
    with reading(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        tensor = torch.from_numpy(np.load(path, mmap_mode="r", allow_pickle=False))
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
