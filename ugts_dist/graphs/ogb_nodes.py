"""OGB's node graphs (Hu et al. 2020, arXiv:2005.00687), read from the raw files of their archives."""

from __future__ import annotations

from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs.ogb_archive import Archive
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import edge_table, open_table
from ugts_dist.graphs.structure import structural_features

RAW = {part: f"raw/{part}.csv.gz" for part in ("edge", "node-feat", "node-label", "num-node-list", "num-edge-list")}
STRUCTURE = "arxiv-structure"  # ogbn-arxiv with features computed from its edges


# OGB has arxiv as directed citations, which nearly all published results make undirected. It has products in one
# direction only, and adds the other itself.
DATASETS = {
    "ogbn-arxiv": Archive("ogbn_arxiv", "time", 40, "arxiv.zip"),
    "ogbn-products": Archive("ogbn_products", "sales_ranking", 47, "products.zip"),
    STRUCTURE: Archive("ogbn_arxiv", "time", 40, "arxiv.zip"),
}


def read(name: str, root: Path) -> RawGraph:
    """The undirected graph with OGB's standard split, from ``root``/ogb, which is only read.

    Raises InputError that names all missing files, or the wrong one.
    """
    archive, has_features = DATASETS[name], name != STRUCTURE
    folder = archive.unpacked(name, root, [file for part, file in RAW.items() if part != "node-feat" or has_features])
    edges = edge_table(folder / RAW["edge"])
    num_nodes, num_edges = (_count(folder / RAW[part]) for part in ("num-node-list", "num-edge-list"))
    if has_features:
        features = open_table(folder / RAW["node-feat"], "numbers")
    else:
        features = structural_features(edges, num_nodes, num_edges)
    return RawGraph(
        name=name,
        source="OGB raw files",
        edges=edges,
        features=features,
        labels=open_table(folder / RAW["node-label"], "integers"),
        splits=archive.splits(folder),
        undirected=True,
        num_classes=archive.num_classes,
        num_nodes=num_nodes,
        num_edges=num_edges,
    )


def _count(path: Path) -> int:
    """The only number in a file."""
    numbers = open_table(path, "integers").whole(1)
    if numbers.shape != (1, 1) or numbers[0, 0] < 0:
        raise InputError(f"{path}: has {numbers.shape[0]} rows of {numbers.shape[1]} numbers; allowed: one count")
    return int(numbers[0, 0])
