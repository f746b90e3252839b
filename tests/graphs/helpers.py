"""Small graphs, and raw dataset folders in the exact layout of the published ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from ugts_dist.graphs.graph import Graph, from_edges


def random_graph(num_nodes: int, num_edges: int, seed: int = 0) -> Graph:
    """A random directed graph with a few very popular destinations."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, num_nodes, num_edges)
    destination = (num_nodes * rng.random(num_edges) ** 3).astype(np.int64)
    third = num_nodes // 3
    return from_edges(
        "random",
        torch.from_numpy(rng.random((num_nodes, 4), dtype=np.float32)),
        torch.from_numpy(np.stack([source, destination])),
        torch.from_numpy(rng.integers(0, 3, num_nodes)),
        torch.arange(third),
        torch.arange(third, 2 * third),
        torch.arange(2 * third, num_nodes),
        num_classes=3,
    )


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change: equal only if nothing was touched."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


class _Python2Array:
    """Pickles as Python 2 pickled an array: its bytes are a string."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        raw = self.values.tobytes().decode("latin1")
        state = (1, self.values.shape, self.values.dtype, False, raw)
        return np.empty(0).__reduce__()[0], (np.ndarray, (0,), "b"), state


class _Python2Csr:
    """Has the attributes of a scipy.sparse.csr_matrix, and pickles under its old name by ``_python2``."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        self.data, self.indices, self.indptr = map(_Python2Array, (matrix.data, matrix.indices, matrix.indptr))
        self._shape = matrix.shape
        self.maxprint = 50


def _python2(content: object) -> bytes:
    """Pickle with the globals that the published files name."""
    old = {
        f"c{__name__}\n_Python2Csr\n": "cscipy.sparse.csr\ncsr_matrix\n",
        "cnumpy._core.multiarray\n": "cnumpy.core.multiarray\n",
    }
    pickled = pickle.dumps(content, protocol=2)
    for now, then in old.items():
        pickled = pickled.replace(now.encode(), then.encode())
    return pickled


def write_planetoid(folder: Path, prefix: str, isolated: bool = False) -> None:
    """660 nodes, 3 classes, 30 training and 60 test nodes; ``isolated``: some test ids have no rows."""
    rng = np.random.default_rng(1)
    num_all, num_test, num_train, num_features = 600, 60, 30, 12
    ids = np.arange(num_all, num_all + num_test) + (np.arange(num_test) // 20 if isolated else 0)
    num_nodes = int(ids.max()) + 1

    def features(rows: int) -> sp.csr_matrix:
        return sp.csr_matrix((rng.random((rows, num_features)) < 0.3).astype(np.float32))

    def labels(rows: int) -> NDArray[np.int32]:
        return np.eye(3, dtype=np.int32)[rng.integers(0, 3, rows)]

    allx, ally = features(num_all), labels(num_all)
    tx, ty = features(num_test), labels(num_test)
    neighbours: dict[int, list[int]] = {node: [] for node in range(num_nodes)}
    for source, destination in rng.integers(0, num_nodes, (1500, 2)).tolist():
        neighbours[source].append(destination)
        neighbours[destination].append(source)
    parts = {
        "x": _Python2Csr(allx[:num_train]),
        "tx": _Python2Csr(tx),
        "allx": _Python2Csr(allx),
        "y": _Python2Array(ally[:num_train]),
        "ty": _Python2Array(ty),
        "ally": _Python2Array(ally),
        "graph": neighbours,
    }
    folder.mkdir(parents=True)
    for part, content in parts.items():
        (folder / f"ind.{prefix}.{part}").write_bytes(_python2(content))
    lines = "".join(f"{node}\n" for node in rng.permutation(ids))
    (folder / f"ind.{prefix}.test.index").write_text(lines)


def write_webkb(folder: Path, name: str) -> None:
    """40 nodes, 3 classes, 9 features, directed edges with repetitions and self loops, ten splits."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    rows = [f"{node}\t{','.join(map(str, rng.integers(0, 2, 9)))}\t{node % 3}" for node in range(40)]
    (folder / "out1_node_feature_label.txt").write_text("\n".join(["node_id\tfeature\tlabel", *rows]) + "\n")
    edges = [f"{source}\t{destination}" for source, destination in rng.integers(0, 40, (200, 2))]
    (folder / "out1_graph_edges.txt").write_text("\n".join(["node_id\tnode_id", *edges, "3\t3"]) + "\n")
    for split in range(10):
        part = rng.integers(0, 3, 40)
        masks = {f"{key}_mask": (part == n).astype(np.uint8) for n, key in enumerate(("train", "val", "test"))}
        np.savez(folder / f"{name}_split_0.6_0.2_{split}.npz", **masks)


def npz_arrays() -> dict[str, NDArray[Any]]:
    """The arrays of an Amazon or Coauthor file: 240 nodes, 3 classes, 7 features."""
    rng = np.random.default_rng(3)
    attr = sp.csr_matrix(rng.integers(0, 3, (240, 7)).astype(np.float32))
    adj = sp.csr_matrix((rng.random((240, 240)) < 0.02).astype(np.float32))
    arrays: dict[str, NDArray[Any]] = {"labels": np.arange(240) % 3}
    for name, matrix in (("attr", attr), ("adj", adj)):
        arrays[f"{name}_data"] = matrix.data
        arrays[f"{name}_indices"] = matrix.indices
        arrays[f"{name}_indptr"] = matrix.indptr
        arrays[f"{name}_shape"] = np.array(matrix.shape)
    return arrays


def write_npz(path: Path, arrays: dict[str, NDArray[Any]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(npz_arrays() if arrays is None else arrays))  # type: ignore[arg-type]
