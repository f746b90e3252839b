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
from ugts_dist.graphs.feature_share import SAMPLE, FeatureShare
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.mapping import read_without_ahead
from ugts_dist.graphs.store_check import check, check_once, stamp
from ugts_dist.graphs.store_files import META, Meta, check_file, read_meta, row_span, sha256, sha256_of_bytes


def is_store(folder: Path) -> bool:
    """Whether the folder has the file that is written last."""
    return (folder / META).is_file()


def open_store(folder: Path, remember: bool = True, shares: bool = False) -> Graph:
    """Open a store memory-mapped and read-only: a write to its tensors ends the process.

    The first time, all arrays are read and checked (``check_once``): no number in them leads out of an array. Later,
    only meta.json, names, shapes, dtypes, and the sizes and times of the files are compared. Only ``verify_store``
    detects a feature, label or edge that changed into another valid one.

    If a file is changed in place while it is mapped, an error or other results are possible. A file that is truncated
    then ends the process with SIGBUS, which can't be prevented.

    Raises InputError, in one line that names the file; without ``shares`` also for a store that has only a share of the
    features.
    """
    meta, files = _described(folder), stamp(folder)
    if meta.share is not None and not shares:
        raise InputError(
            f"{folder}: has share {meta.share.part + 1}/{meta.share.parts} of the features only; allowed are a whole "
            f"store, or training with --batch.placement sharded on {meta.share.parts} hosts"
        )
    graph = _mapped(folder, meta)
    check_once(folder, graph, files, remember)
    arrays = (graph.x, graph.indices, graph.edge_weight, graph.edge_attr)
    read_without_ahead(array for array in arrays if array is not None)
    return graph


def describe_store(folder: Path) -> Graph:
    """A store for its counts only. Its arrays are not checked and must not be used for indexing.

    Raises InputError if meta.json, or the size of a file, is wrong.
    """
    return _mapped(folder, _described(folder))


def open_extra(folder: Path, array: str) -> NDArray[Any] | None:
    """An extra array of a store, memory-mapped and read-only; None if the store has no such array.

    Raises InputError if its file is missing, or differs from meta.json in size, shape or dtype.
    """
    described = read_meta(folder).extra_arrays.get(array)
    if described is None:
        return None
    path = folder / f"{array}.npy"
    check_file(path, described[0], described[1])
    with reading(path):
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def verify_store(folder: Path) -> bool:
    """Compare every array with its SHA-256 in meta.json, and check its contents.

    Returns whether meta.json has a checksum of itself, which is compared, too; older stores have none. Raises
    InputError that names each file that differs.
    """
    wrong = []
    meta = _described(folder)
    for array, (_, _, digest) in (meta.arrays | meta.extra_arrays).items():
        path = folder / f"{array}.npy"
        with reading(path):
            is_same = _has_share(path, meta) if array == "x" and meta.share else sha256(path) == digest
            if not is_same:
                wrong.append(path.name)
    if wrong:
        raise InputError(
            f"{folder}: {', '.join(wrong)} changed since written (SHA-256 differs); prepare the graph again"
        )
    check(folder, _mapped(folder, meta))
    return bool(meta.checksum)


def _has_share(path: Path, meta: Meta) -> bool:
    """Whether the rows of a share have their checksum. There is no other one of what the file has besides."""
    assert meta.share is not None
    num_nodes, (part, parts, digest) = meta.arrays["x"][1][0], meta.share
    begin, end, _ = row_span(path, num_nodes * part // parts, num_nodes * (part + 1) // parts)
    return sha256_of_bytes(path, begin, end) == digest


def _described(folder: Path) -> Meta:
    """The contents of meta.json, after a check that all files have the right size, shape and dtype."""
    meta = read_meta(folder)
    for array, (dtype, shape, _) in (meta.arrays | meta.extra_arrays).items():
        check_file(folder / f"{array}.npy", dtype, shape)
    return meta


def _mapped(folder: Path, meta: Meta) -> Graph:
    graph = map_graph(folder, meta.name, meta.num_classes, {array: known[0] for array, known in meta.arrays.items()})
    digests = {array: digest for array, (_, _, digest) in meta.arrays.items()}
    share = None
    if meta.share is not None:
        sample = _tensor(folder / f"{SAMPLE}.npy", "float32")
        share = FeatureShare.of(meta.share.part, meta.share.parts, graph.num_nodes, sample)
    return replace(graph, digests=digests, class_names=meta.class_names, share=share)


def map_graph(folder: Path, name: str, num_classes: int, dtypes: Mapping[str, str]) -> Graph:
    """The arrays of a store, mapped into memory and not checked; ``dtypes`` as in meta.json."""
    tensors: dict[str, Any] = {array: _tensor(folder / f"{array}.npy", dtype) for array, dtype in dtypes.items()}
    return Graph(name=name, num_classes=num_classes, **tensors)


def _tensor(path: Path, dtype: str) -> Tensor:
    with reading(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        tensor = torch.from_numpy(np.load(path, mmap_mode="r", allow_pickle=False))
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
