"""Your own graph: files of edges, features, labels and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs import headers
from ugts_dist.graphs.own_tables import OwnTables, TableOptions
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import open_edges, open_file
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.tables import array_table


def from_files(
    name: str,
    paths: Mapping[str, Path],
    options: TableOptions,
    undirected: bool,
    num_classes: int | None,
    tell: Callable[[str], None],
) -> RawGraph:
    """A graph from files: edges and features, optionally labels, a split (train, valid and test) and ids.

    A table with a column of ids has its rows in any order. The rows of other tables are in the order of `ids`, or of
    the nodes 0, 1, 2, ... ``tell`` is called with a line about each detection and decision. Raises InputError for a
    file that is missing or of a wrong kind, and for rows that can't be matched.
    """
    files = {part: open_edges(path) if part == "edges" else open_file(path) for part, path in paths.items()}
    opened = headers.decide(files, options.header, tell)
    tables = OwnTables.of(opened, options, tell)
    labels, class_names = tables.labels()
    features, places = tables.features(len(labels))
    splits = {split: tables.split(split, len(labels)) for split in SPLITS if split in paths}
    if class_names and num_classes not in (None, len(class_names)):
        raise InputError(f"--num-classes: {num_classes}; allowed: {len(class_names)}, as {paths['labels']} has")
    edges, edge_data = tables.edges()
    return RawGraph(
        name=name,
        source="files",
        edges=edges,
        edge_data=edge_data,
        features=features,
        labels=array_table(str(paths.get("labels", paths["features"])), labels, "integers"),
        splits=splits,
        undirected=undirected,
        num_classes=num_classes,
        features_of=places,
        ids=tables.ids,
        class_names=class_names,
    )
