"""Texas, Cornell and Wisconsin in the raw files of Geom-GCN (Pei et al. 2020), ten splits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ugts_dist.graphs.dataset import Dataset
from ugts_dist.graphs.files import load_npz, node_ids, reading
from ugts_dist.graphs.graph import Graph, from_edges

NAMES = ("texas", "cornell", "wisconsin")
NUM_SPLITS = 10
FEATURES = "out1_node_feature_label.txt"
EDGES = "out1_graph_edges.txt"


def split_names(name: str) -> tuple[str, ...]:
    """The files with the masks, one per split."""
    return tuple(f"{name}_split_0.6_0.2_{split}.npz" for split in range(NUM_SPLITS))


def dataset(name: str) -> Dataset:
    """Texas, Cornell or Wisconsin."""
    from torch_geometric.datasets import WebKB  # imports in seconds, and a run needs one dataset

    urls = {file: f"{WebKB.url}/new_data/{name}/{file}" for file in (FEATURES, EDGES)}
    urls |= {file: f"{WebKB.url}/splits/{file}" for file in split_names(name)}
    return Dataset(read, f"webkb/{name}/raw", urls, NUM_SPLITS)


def read(folder: Path, name: str, split: int) -> Graph:
    """Read one split. Edges keep the direction in the file. Raises InputError."""
    x, y = _read_nodes(folder / FEATURES)
    with reading(folder / EDGES):
        rows = [[int(value) for value in line.split("\t")] for line in _table(folder / EDGES)]
        edge_index = torch.tensor(rows, dtype=torch.int64).t()
        if edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ValueError("expected two node ids a line")
    path = folder / split_names(name)[split]
    masks = load_npz(path, ("train_mask", "val_mask", "test_mask"))
    with reading(path):
        for mask_name, mask in masks.items():
            if mask.shape != (x.size(0),):
                raise ValueError(f"{mask_name} has shape {mask.shape}, expected ({x.size(0)},)")
        train, valid, test = (node_ids(mask) for mask in masks.values())
    return from_edges(name, x, edge_index, y, train, valid, test)


def _read_nodes(path: Path) -> tuple[Tensor, Tensor]:
    """Features [num_nodes, num_features] float32 and labels [num_nodes] int64."""
    with reading(path):
        x, y = [], []
        for number, line in enumerate(_table(path)):
            node, features, label = line.split("\t")
            if int(node) != number:
                raise ValueError(f"node {node} where node {number} belongs")
            x.append([float(value) for value in features.split(",")])
            y.append(int(label))
        if not x:
            raise ValueError("has no nodes")
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)


def _table(path: Path) -> list[str]:
    """The lines below the heading."""
    return path.read_text("utf-8").splitlines()[1:]
