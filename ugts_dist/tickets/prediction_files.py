"""Predictions as tables in a file: names of rows and columns, and formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import torch
from pyarrow import csv, parquet
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.catalogue import store_folder
from ugts_dist.graphs.store_files import read_meta
from ugts_dist.graphs.stored_ids import StoredIds, open_ids
from ugts_dist.graphs.targets import Scale
from ugts_dist.tickets.files import new_file

# Factories of table writers, by the file's suffix.
_WRITERS: dict[str, Callable[[BinaryIO, pa.Schema], AbstractContextManager[Any]]] = {
    ".parquet": parquet.ParquetWriter,
    ".csv": csv.CSVWriter,
}


@dataclass(frozen=True)
class Names:
    """Names of nodes and classes in the user's own files.

    Attributes:
        ids: of the nodes; None: 0, 1, 2, ...
        classes: of all classes; empty: 0, 1, 2, ...
    """

    ids: StoredIds | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowKind:
    """What the rows are: nodes with their ids, or graphs."""

    names: Names = field(default_factory=Names)
    of_graphs: bool = False

    def column(self, first: int, count: int) -> dict[str, pa.Array]:
        return {"graph": _range(first, count)} if self.of_graphs else {"node": _ids(first, count, self.names)}


def node_ids(graph: str, num_nodes: int) -> StoredIds | None:
    """The ids of the nodes of a graph, if its store has them."""
    folder = store_folder(graph)
    return None if folder is None else open_ids(folder, num_nodes)


def class_names(graph: str, num_classes: int) -> tuple[str, ...]:
    """The names of the classes of a graph; empty if its store has none for this number, or is not found."""
    try:
        folder = store_folder(graph)
        names = () if folder is None else read_meta(folder).class_names
    except InputError:
        return ()
    return names if len(names) == num_classes else ()


def node_table(first: int, logits: Tensor, names: Names) -> pa.Table:
    """Rows of nodes from number `first` on: id, predicted class and probability of each class."""
    predicted = logits.argmax(1).int()
    classes = pa.array(predicted.numpy())
    if names.classes:
        called = pa.array(names.classes, pa.string())
        # Classes whose names were numbers become numbers again.
        called = called.cast(pa.int64()) if all(map(_is_plain, names.classes)) else called
        classes = called.take(classes)
    ids = _ids(first, len(logits), names)
    return _table({"node": ids, "prediction": classes}, logits.softmax(1), names.classes)


def embedding_table(first: int, embeddings: Tensor, names: Names) -> pa.Table:
    """Rows of nodes from number `first` on: id and embedding."""
    columns = {f"z_{k}": pa.array(values) for k, values in enumerate(embeddings.t().contiguous().numpy())}
    return pa.table({"node": _ids(first, len(embeddings), names)} | columns)


def labels_table(first: int, logits: Tensor, rows: RowKind) -> pa.Table:
    """Rows from number `first` on, and the probability of each label."""
    return _table(rows.column(first, len(logits)), logits.sigmoid(), ())


def targets_table(first: int, outputs: Tensor, rows: RowKind, scale: Scale) -> pa.Table:
    """Rows from number `first` on, and each target in its own units."""
    targets = scale.restored(outputs).t().contiguous().numpy()
    return pa.table(rows.column(first, len(outputs)) | {f"y_{k}": pa.array(target) for k, target in enumerate(targets)})


def check_ending(path: Path) -> None:
    """Raise InputError for a file name with another suffix than those of the formats."""
    if path.suffix not in _WRITERS:
        raise InputError(f"--out is {path}, allowed are names that end in {' or '.join(_WRITERS)}")


def write_tables(path: Path, tables: Iterator[pa.Table]) -> int:
    """Write tables one after the other, in the format of the file's suffix. Returns the number of rows."""
    first = next(tables)
    with new_file(path) as file, _WRITERS[path.suffix](file, first.schema) as writer:
        writer.write_table(first)
        count: int = first.num_rows
        for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count


def _table(columns: dict[str, pa.Array], probabilities: Tensor, classes: tuple[str, ...]) -> pa.Table:
    by_class = probabilities.t().contiguous().numpy()
    called = classes or [str(k) for k in range(len(by_class))]
    return pa.table(columns | {f"p_{name}": pa.array(p) for name, p in zip(called, by_class, strict=True)})


def _ids(first: int, count: int, names: Names) -> pa.Array:
    return _range(first, count) if names.ids is None else names.ids.slice(first, count)


def _range(first: int, count: int) -> pa.Array:
    return pa.array(torch.arange(first, first + count).numpy())


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", name) is not None
