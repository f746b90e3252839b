"""Graphs that PyG made, as people save them by torch.save, given to `ugts prepare --data`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import ToSparseTensor, ToUndirected

from tests.trials.case import case, ugts
from ugts_dist.graphs.store import open_store

_NUM_NODES = 12


def ring(**fields: Any) -> Data:
    """A directed ring of 12 nodes: feature 0 of node i is i; nodes 0 to 5 train, 6 to 8 validate, 9 to 11 test."""
    i = torch.arange(_NUM_NODES)
    x = torch.stack([i.float(), (i % 2).float()], dim=1)
    masks = {"train_mask": i < 6, "val_mask": (i >= 6) & (i < 9), "test_mask": i >= 9}
    return Data(x=x, y=i % 2, edge_index=torch.stack([i, (i + 1) % _NUM_NODES]), **(masks | fields))


def prepared(folder: Path, data: object, *options: str) -> str:
    """What `prepare` tells of the saved object and, where it is read, what the store has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(data, folder / "graph.pt")
    outcome = ugts("prepare", "ring", "--data", folder / "graph.pt", "--out", folder / "store", *options)
    if outcome.code:
        return outcome.told
    graph = open_store(folder / "store")
    first = graph.indices[: int(graph.indptr[1])].tolist()
    splits = [graph.train.tolist(), graph.valid.tolist(), graph.test.tolist()]
    return f"{outcome.told} | {graph.num_edges} edges, to node 0 from {first}, splits {splits}"


_SPLITS = r"splits \[\[0, 1, 2, 3, 4, 5\], \[6, 7, 8\], \[9, 10, 11\]\]"


@case(r"24 edges, to node 0 from \[1, 11\], " + _SPLITS)
def undirected(folder: Path) -> str:
    """A Data after ToUndirected"""
    return prepared(folder, ToUndirected()(ring()))


@case(r"12 edges, to node 0 from \[11\], " + _SPLITS)
def adjacency(folder: Path) -> str:
    """A Data with adj_t and without edge_index"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepared(folder, ToSparseTensor()(ring()))


@case(r"12 edges, to node 0 from \[11\], " + _SPLITS)
def first_layout(folder: Path) -> str:
    """A Data in the layout of PyG 1"""
    old = Data.__new__(Data)
    vars(old).update({**dict(ring().items()), "edge_attr": None, "pos": None})
    return prepared(folder, old)


@case(r"exit 2: .*graph.pt: holds a HeteroData; allowed: a Data with one kind of nodes")
def hetero(folder: Path) -> str:
    """A HeteroData"""
    data = HeteroData()
    data["a"].x = ring().x
    data["a", "to", "a"].edge_index = ring().edge_index
    return prepared(folder, data)


@case(r"exit 2: .*graph.pt: holds a Batch of several graphs; allowed: the Data of one graph")
def batch(folder: Path) -> str:
    """A Batch of two graphs"""
    return prepared(folder, Batch.from_data_list([ring(), ring()]))


@case(_SPLITS)
def masks_of_integers(folder: Path) -> str:
    """Masks of 0 and 1, uint8 and int64"""
    data = ring()
    data.train_mask, data.val_mask = data.train_mask.to(torch.uint8), data.val_mask.long()
    return prepared(folder, data)


@case(_SPLITS)
def masks_of_several_splits(folder: Path) -> str:
    """A test mask for all splits, beside training and validation masks for each, and --split 3"""
    data = ring()
    data.train_mask, data.val_mask = (mask[:, None].repeat(1, 4) for mask in (data.train_mask, data.val_mask))
    return prepared(folder, data, "--split", "3")


@case(r"exit 2: .*train_mask: has no split 4; allowed: 0 to 3")
def no_such_split(folder: Path) -> str:
    """The same and --split 4"""
    data = ring()
    data.train_mask, data.val_mask = (mask[:, None].repeat(1, 4) for mask in (data.train_mask, data.val_mask))
    return prepared(folder, data, "--split", "4")


@case(r"exit 0: .*edges with weights")
def edge_weights(folder: Path) -> str:
    """A Data with edge weights"""
    return prepared(folder, ring(edge_weight=torch.rand(_NUM_NODES)))


@case(r"exit 2: .*NAME: wisconsin is the name of a dataset; choose another name for your own graph")
def taken_name(folder: Path) -> str:
    """An own graph under the name of a dataset"""
    torch.save(ring(), folder / "graph.pt")
    return ugts("prepare", "wisconsin", "--data", folder / "graph.pt", "--out", folder / "store").told
