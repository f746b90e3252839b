"""Your own graph: files of edges, features, labels and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs import headers
from ugts_dist.graphs.label_numbers import Numbers
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
    paths = _same_twice(paths, options)
    files = {part: open_edges(path) if part == "edges" else open_file(path) for part, path in paths.items()}
    opened = headers.decide(files, options.header, tell)
    tables = OwnTables.of(opened, options, tell)
    labels = tables.labels()
    class_names = labels.class_names
    features, places = tables.features(labels.num_nodes)
    splits = {split: tables.split(split, labels.num_nodes) for split in SPLITS if split in paths}
    if class_names and num_classes not in (None, len(class_names)):
        raise InputError(f"--num-classes: {num_classes}; allowed: {len(class_names)}, as {paths['labels']} has")
    edges, edge_data = tables.edges()
    return RawGraph(
        name=name,
        source="files",
        edges=edges,
        edge_data=edge_data,
        features=features,
        labels=labels if isinstance(labels, Numbers) else array_table(labels.name, labels.y, "integers"),
        splits=splits,
        undirected=undirected,
        num_classes=num_classes,
        features_of=places,
        ids=tables.ids,
        class_names=class_names,
    )


def _same_twice(paths: Mapping[str, Path], options: TableOptions) -> Mapping[str, Path]:
    """The paths, with one name for a file that has both features and labels. Raises InputError if it may have more."""
    labels = paths.get("labels")
    if labels is None or labels.resolve() != paths["features"].resolve():
        return paths
    if not options.labels.columns:
        raise InputError(f"--labels: {labels}, which --features names, too; allowed: that and --label-columns NAME ...")
    return {**paths, "labels": paths["features"]}
