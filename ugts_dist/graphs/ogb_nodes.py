"""OGB's node graphs (Hu et al. 2020, arXiv:2005.00687), read from the raw files of their archives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import missing
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import edge_table, open_table
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.structure import structural_features

RAW = {part: f"raw/{part}.csv.gz" for part in ("edge", "node-feat", "node-label", "num-node-list", "num-edge-list")}
STRUCTURE = "arxiv-structure"  # ogbn-arxiv with features computed from its edges


@dataclass(frozen=True)
class _Dataset:
    folder: str
    split: str  # OGB's name of the standard split
    num_classes: int
    archive: str
    has_features: bool = True  # in its file; otherwise they are computed from the edges


# OGB has arxiv as directed citations, which nearly all published results make undirected. It has products in one
# direction only, and adds the other itself.
DATASETS = {
    "ogbn-arxiv": _Dataset("ogbn_arxiv", "time", 40, "arxiv.zip"),
    "ogbn-products": _Dataset("ogbn_products", "sales_ranking", 47, "products.zip"),
    STRUCTURE: _Dataset("ogbn_arxiv", "time", 40, "arxiv.zip", has_features=False),
}


def read(name: str, root: Path) -> RawGraph:
    """The undirected graph with OGB's standard split, from ``root``/ogb, which is only read.

    Raises InputError that names all missing files, or the wrong one.
    """
    dataset = DATASETS[name]
    folder = root / "ogb" / dataset.folder
    splits = {split: f"split/{dataset.split}/{split}.csv.gz" for split in SPLITS}
    needed = [file for part, file in RAW.items() if part != "node-feat" or dataset.has_features]
    absent = missing(folder, (*needed, *splits.values()))
    if absent:
        raise InputError(
            f"{folder}: {name} needs {', '.join(absent)} there; unpack OGB's {dataset.archive} "
            f"(snap.stanford.edu/ogb/data/nodeproppred/{dataset.archive}) as {dataset.folder}, or name another --root"
        )
    edges = edge_table(folder / RAW["edge"])
    num_nodes, num_edges = (_count(folder / RAW[part]) for part in ("num-node-list", "num-edge-list"))
    if dataset.has_features:
        features = open_table(folder / RAW["node-feat"], "numbers")
    else:
        features = structural_features(edges, num_nodes, num_edges)
    return RawGraph(
        name=name,
        source="OGB raw files",
        edges=edges,
        features=features,
        labels=open_table(folder / RAW["node-label"], "integers"),
        splits={split: open_table(folder / file, "ids") for split, file in splits.items()},
        undirected=True,
        num_classes=dataset.num_classes,
        num_nodes=num_nodes,
        num_edges=num_edges,
    )


def _count(path: Path) -> int:
    """The only number in a file."""
    numbers = open_table(path, "integers").whole(1)
    if numbers.shape != (1, 1) or numbers[0, 0] < 0:
        raise InputError(f"{path}: has {numbers.shape[0]} rows of {numbers.shape[1]} numbers; allowed: one count")
    return int(numbers[0, 0])
