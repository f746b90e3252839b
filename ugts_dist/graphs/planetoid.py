"""Cora, CiteSeer and PubMed in the raw files of Yang et al. 2016 (arXiv:1603.08861), public split and redrawn ones.

The files are pickles of Python 2. They are read as data: each allowed global becomes an inert placeholder below, and
any other is an error, so that a malicious file can't run code.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.dataset import Dataset
from ugts_dist.graphs.files import csr, reading
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.splits import redrawn

FOLDERS = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
NUM_VALID = 500
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def file_names(prefix: str) -> tuple[str, ...]:
    """The raw files of the dataset with this prefix, such as "cora"."""
    return tuple(f"ind.{prefix}.{part}" for part in PARTS)


def dataset(name: str) -> Dataset:
    """Cora, CiteSeer or PubMed."""
    from torch_geometric.datasets import Planetoid  # imports in seconds, and a run needs one dataset

    urls = {file: f"{Planetoid.url}/{file}" for file in file_names(name)}
    return Dataset(read, f"planetoid/{FOLDERS[name]}/raw", urls)


def read(folder: Path, name: str, split: int) -> Graph:
    """Read split 0, the public one, equal to PyG's ``Planetoid``; or a redrawn one with the same test nodes.

    Raises InputError that names the damaged file.
    """
    paths = dict(zip(PARTS, (folder / file for file in file_names(name)), strict=True))
    arrays = {part: _read_array(paths[part]) for part in PARTS[:6]}
    _check_shapes(paths, arrays)
    edge_index = _read_graph(paths["graph"])
    with reading(paths["test.index"]):
        test = torch.tensor([int(line) for line in paths["test.index"].read_text("ascii").split()])
        if test.numel() != arrays["tx"].size(0):
            raise ValueError(f"{test.numel()} test ids for {arrays['tx'].size(0)} rows of tx")
        # CiteSeer has isolated nodes among the test ids. Their rows are not in the files and stay zero.
        first, count = arrays["allx"].size(0), int(test.max()) - arrays["allx"].size(0) + 1
        if int(test.min()) != first or test.unique().numel() != test.numel():
            raise ValueError(f"test ids must be different and start at {first}, the number of rows of allx")
        if count > 2 * test.numel():
            raise ValueError(f"test id {int(test.max())} is too large for {test.numel()} rows of tx")
        features = torch.zeros(count, arrays["tx"].size(1))
        labels = torch.zeros(count, arrays["ty"].size(1))
        # The rows of tx and ty are in the order of test.index.
        features[test - first] = arrays["tx"]
        labels[test - first] = arrays["ty"]
        x = torch.cat([arrays["allx"], features])
        y = torch.cat([arrays["ally"], labels]).argmax(dim=1)
    num_train = arrays["y"].size(0)
    train = torch.arange(num_train)
    valid = torch.arange(num_train, num_train + NUM_VALID)
    if split:
        train, valid = redrawn(y, train, valid, split)
    return from_edges(name, x, edge_index, y, train, valid, test, num_classes=arrays["y"].size(1))


class _Dtype:
    """A dtype in a pickle: its code and byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"dtype {code} is not numeric")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array in a pickle: shape, dtype, order and bytes."""

    values: NDArray[np.generic]

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, described, is_fortran, raw = state
        # Python 2 strings arrive decoded as latin1, one character a byte.
        content = raw.encode("latin1") if isinstance(raw, str) else raw
        flat = np.frombuffer(content, described.dtype).reshape(shape, order="F" if is_fortran else "C")
        self.values = flat.astype(described.dtype.newbyteorder("="))


class _Csr:
    """A scipy.sparse.csr_matrix in a pickle, which sets the attributes."""

    data: _Array
    indices: _Array
    indptr: _Array
    _shape: tuple[int, ...]

    def dense(self) -> NDArray[np.generic]:
        return csr(self.data.values, self.indices.values, self.indptr.values, self._shape).toarray()


class _Reader(pickle.Unpickler):
    """An unpickler that allows only the globals of the raw files."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | ("numpy", "ndarray"):
                return _Array
            case "numpy", "dtype":
                return _Dtype
            case "scipy.sparse.csr" | "scipy.sparse._csr", "csr_matrix":
                return _Csr
            case "collections", "defaultdict":
                return defaultdict
            case "__builtin__" | "builtins", "list":
                return list
        raise pickle.UnpicklingError(f"the global {module}.{name} has no place in this file")


def _check_shapes(paths: dict[str, Path], arrays: dict[str, Tensor]) -> None:
    """Raise InputError if the matrices do not fit together."""
    for part, other, dim in (
        ("x", "allx", 1),
        ("tx", "allx", 1),
        ("ty", "ally", 1),
        ("y", "ally", 1),
        ("ally", "allx", 0),
        ("ty", "tx", 0),
        ("y", "x", 0),
    ):
        found, wanted = arrays[part].size(dim), arrays[other].size(dim)
        if found != wanted:
            what = ("rows", "columns")[dim]
            raise InputError(f"{paths[part]}: has {found} {what}; allowed: {wanted}, as in {paths[other].name}")


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        return _Reader(file, encoding="latin1").load()


def _read_array(path: Path) -> Tensor:
    """Read a dense or sparse matrix, [rows, columns] float32."""
    with reading(path):
        content = _unpickle(path)
        if isinstance(content, _Csr):
            values = content.dense()
        elif isinstance(content, _Array):
            values = content.values
        else:
            raise TypeError(f"holds a {type(content).__name__}, not a matrix")
        if values.ndim != 2:
            raise ValueError(f"has shape {values.shape}, not two dimensions")
        return torch.from_numpy(values.astype(np.float32))


def _read_graph(path: Path) -> Tensor:
    """Read the dictionary node -> neighbours, [2, number of edges] int64."""
    with reading(path):
        content = _unpickle(path)
        if not isinstance(content, dict):
            raise TypeError(f"holds a {type(content).__name__}, not a dictionary of neighbours")
        pairs = np.array([(node, other) for node, others in content.items() for other in others])
        if pairs.dtype.kind != "i":
            raise ValueError("has no edges between node numbers")
        return torch.from_numpy(pairs.T).long()
