"""Graphs in files of every kind that `ugts prepare` reads."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.utils import to_undirected

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.store import open_store, verify_store

from .helpers import snapshot

ARRAYS = ("indptr", "indices", "x", "y", "train", "valid", "test")


def assert_equal(graph: Graph, wanted: Graph) -> None:
    """The same arrays, bit for bit and of the same dtype."""
    for array in ARRAYS:
        a, b = getattr(graph, array), getattr(wanted, array)
        assert a.dtype == b.dtype, array
        assert torch.equal(a, b), array
    for array in ("edge_weight", "edge_attr"):
        a, b = getattr(graph, array), getattr(wanted, array)
        assert (a is None) == (b is None), array
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), array
    assert graph.num_classes == wanted.num_classes


def write_rows(path: Path, values: NDArray[Any], header: str = "") -> str:
    """Write an array of one or two axes in the format that the end of the name says; returns the path."""
    rows = values if values.ndim == 2 else values[:, None]
    if path.name.endswith(".npy"):
        np.save(path, values)
    elif path.name.endswith(".parquet"):
        columns = {f"c{number}": column for number, column in enumerate(rows.T)}
        pq.write_table(pa.table(columns), path, row_group_size=7)
    else:
        text = "".join([f"{header}\n" if header else "", *(",".join(map(str, row)) + "\n" for row in rows.tolist())])
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def random_parts(num_nodes: int, num_edges: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Edges with repetitions and self loops, many of them of one node, with features, labels and split."""
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, num_nodes, (num_edges, 2))
    edges[: num_edges // 3, 1] = num_nodes // 2
    train, valid, test = np.array_split(rng.permutation(num_nodes), 3)
    return {
        "edges": edges,
        "features": rng.standard_normal((num_nodes, 3)).astype(np.float32),
        "labels": rng.integers(0, 4, num_nodes),
        "train": train,
        "valid": valid,
        "test": test,
    }


def write_parts(folder: Path, parts: dict[str, NDArray[Any]], suffix: str = ".npy") -> dict[str, str]:
    """Each part in a file; their paths by the option of `ugts prepare`."""
    return {part: write_rows(folder / f"{part}{suffix}", values) for part, values in parts.items()}


def options(files: dict[str, str]) -> Sequence[str]:
    return [word for option, path in files.items() for word in (f"--{option}", path)]


def write_ogb(root: Path, name: str, num_nodes: int = 60, num_edges: int = 300) -> Path:
    """A folder in OGB's raw layout; returns it. Edges are directed, some in both directions, some repeated."""
    split = {"ogbn-arxiv": "time", "ogbn-products": "sales_ranking"}[name]
    folder = root / "ogb" / name.replace("-", "_")
    (folder / "raw").mkdir(parents=True)
    (folder / "split" / split).mkdir(parents=True)
    rng = np.random.default_rng(4)
    edges = rng.integers(0, num_nodes, (num_edges, 2))
    write_rows(folder / "raw/edge.csv.gz", np.concatenate([edges, edges[:9], edges[:5, ::-1]]))
    write_rows(folder / "raw/num-edge-list.csv.gz", np.array([num_edges + 14]))
    write_rows(folder / "raw/num-node-list.csv.gz", np.array([num_nodes]))
    write_rows(folder / "raw/node-feat.csv.gz", rng.standard_normal((num_nodes, 5)).round(6))
    write_rows(folder / "raw/node-label.csv.gz", rng.integers(0, 40, num_nodes))
    if name == "ogbn-arxiv":
        write_rows(folder / "raw/node_year.csv.gz", rng.integers(1990, 2020, num_nodes))
    order = rng.permutation(num_nodes)
    for part, nodes in zip(("train", "valid", "test"), np.split(order, [30, 45]), strict=True):
        write_rows(folder / f"split/{split}/{part}.csv.gz", nodes)
    return folder


def expected(parts: dict[str, NDArray[Any]], undirected: bool = False) -> Graph:
    """The same graph made in memory."""
    tensors = {part: torch.from_numpy(values) for part, values in parts.items()}
    edge_index = tensors["edges"].t().long()
    if undirected:
        edge_index = to_undirected(edge_index)
    train, valid, test = (tensors[split] for split in ("train", "valid", "test"))
    return from_edges("mine", tensors["features"], edge_index, tensors["labels"], train, valid, test)


def make(folder: Path, files: Mapping[str, Any], **options: Any) -> Graph:
    prepare(PrepareOptions("mine", out=str(folder), **files, **options))
    verify_store(folder)
    return open_store(folder)


def refusal(folder: Path, files: Mapping[str, Any], **options: Any) -> str:
    """The complaint; nothing is left, and no other file changes."""
    before = snapshot(folder)
    with pytest.raises(InputError) as error:
        prepare(PrepareOptions("mine", out=str(folder / "out"), **files, **options))
    assert snapshot(folder) == before
    assert "\n" not in str(error.value)
    return str(error.value)
