"""The Amazon and Coauthor graphs in the npz files of Shchur et al. 2018 (arXiv:1811.05868)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ugts_dist.graphs import splits
from ugts_dist.graphs.dataset import Dataset
from ugts_dist.graphs.files import csr, load_npz, reading
from ugts_dist.graphs.graph import Graph, from_edges

FILES = {
    "amazon-computers": "amazon_electronics_computers.npz",
    "amazon-photo": "amazon_electronics_photo.npz",
    "coauthor-cs": "ms_academic_cs.npz",
    "coauthor-physics": "ms_academic_phy.npz",
}
ARRAYS = tuple(f"{matrix}_{part}" for matrix in ("attr", "adj") for part in ("data", "indices", "indptr", "shape"))


def dataset(name: str) -> Dataset:
    """A graph of Amazon or Coauthor."""
    from torch_geometric.datasets import Amazon, Coauthor  # imports in seconds, and a run needs one dataset

    source, graph = name.split("-")
    url = {"amazon": Amazon.url, "coauthor": Coauthor.url}[source]
    folder = "CS" if graph == "cs" else graph.capitalize()
    return Dataset(read, f"{source}/{folder}/raw", {FILES[name]: url + FILES[name]})


def read(folder: Path, name: str, split: int) -> Graph:
    """Read a graph as PyG does: undirected, with binary word features. ``split`` is the number of the drawn split.

    Raises InputError that names the damaged file.
    """
    path = folder / FILES[name]
    arrays = load_npz(path, (*ARRAYS, "labels"))
    with reading(path):
        attr, adj = (
            csr(
                arrays[f"{matrix}_data"],
                arrays[f"{matrix}_indices"],
                arrays[f"{matrix}_indptr"],
                tuple(int(size) for size in arrays[f"{matrix}_shape"]),
            )
            for matrix in ("attr", "adj")
        )
        attr.sum_duplicates()
        attr.data[attr.data > 0] = 1
        x = torch.from_numpy(attr.astype(np.float32).toarray())
        coo = adj.tocoo()
        pairs = torch.from_numpy(np.stack([coo.row, coo.col])).long()
        y = torch.from_numpy(arrays["labels"].astype(np.int64))
        if adj.shape != (x.size(0), x.size(0)) or y.shape != (x.size(0),):
            raise ValueError(f"attr {attr.shape}, adj {adj.shape} and labels {tuple(y.shape)} do not fit together")
    train, valid, test = splits.stratified(name, y, split)
    return from_edges(name, x, torch.cat([pairs, pairs.flip(0)], dim=1), y, train, valid, test)
