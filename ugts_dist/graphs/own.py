"""Your own graph: files of edges, features, labels and splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import edge_table, open_table


def from_files(
    name: str,
    edges: Path,
    features: Path,
    labels: Path,
    splits: Mapping[str, Path],
    undirected: bool,
    num_classes: int | None,
) -> RawGraph:
    """A graph in files as ``tables`` reads them. Raises InputError for a file that is missing or of a wrong kind."""
    return RawGraph(
        name=name,
        source="files",
        edges=edge_table(edges),
        features=open_table(features, "numbers"),
        labels=open_table(labels, "integers"),
        splits={array: open_table(path, "ids") for array, path in splits.items()},
        undirected=undirected,
        num_classes=num_classes,
    )
