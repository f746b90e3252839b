"""Opens files of rows: NPY, Parquet, and text with separated fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs import tables
from ugts_dist.graphs.csv_files import TextFile, is_text_file, open_text
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.tables import Block, Column, ColumnType, Kind, Report, Rows, Table, array_rows, array_table


def open_file(path: Path) -> TextFile | Rows:
    """The rows of a file, by its suffix: .npy, .parquet, and .csv, .tsv or .txt, also with .gz.

    For a text file, the caller has to decide whether its first row is a header. An NPY array has one or two axes.
    Raises InputError if the file is missing or of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.name.endswith(".npy"):
        return array_rows(str(path), _mapped(path))
    if path.name.endswith(".parquet"):
        return _parquet(path)
    if is_text_file(path):
        return open_text(path)
    raise InputError(f"{path}: is of no known kind; allowed: .npy, .parquet, and .csv, .tsv, .txt, also with .gz")


def open_table(path: Path, kind: Kind) -> Table:
    """All columns of a file as a table of numbers; a first row of text is a header.

    Raises InputError as ``open_file`` does, and if the file does not hold ``kind``. Reading names the row of a field
    that is missing or not a number.
    """
    if path.is_file() and path.name.endswith(".npy"):
        return array_table(str(path), _mapped(path), kind)
    return opened(open_file(path)).table(kind)


def tensor_table(name: str, tensor: Tensor, kind: Kind) -> Table:
    """A tensor of any device as a table; see ``array_table``. Types that NumPy lacks, such as bfloat16, are float32."""
    values = tensor.detach().cpu()
    is_known = not values.is_floating_point() or values.dtype in (torch.float16, torch.float32, torch.float64)
    return array_table(name, (values if is_known else values.float()).numpy(), kind)


def open_edges(path: Path) -> TextFile | Rows:
    """As ``open_file``; an NPY array of [2, num_edges] becomes rows of two columns."""
    if path.name.endswith(".npy") and path.is_file():
        array = _mapped(path)
        if array.ndim == 2 and array.shape[0] == 2 != array.shape[1]:
            return array_rows(str(path), array.T, row="column")
    return open_file(path)


def edge_table(path: Path) -> Table:
    """A table of edges: sources and destinations in two columns, or an NPY array of [2, num_edges]."""
    rows = opened(open_edges(path))
    if rows.num_columns != 2:
        raise InputError(f"{path}: has {rows.num_columns} columns; allowed: 2, source and destination")
    return rows.table("integers")


def opened(file: TextFile | Rows) -> Rows:
    """The rows of a file; a first row of words is a header."""
    return file if isinstance(file, Rows) else file.opened(header=file.first_row in ("names", "text"))


def _mapped(path: Path) -> Block:
    with reading(path):
        array: Block = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def _parquet(path: Path) -> Rows:
    with reading(path), pq.ParquetFile(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    if not schema.names:
        raise InputError(f"{path}: has no columns")

    def read(columns: Sequence[int], kinds: Sequence[Kind], report: Report) -> Iterator[list[Column]]:
        names = [schema.names[column] for column in columns]
        step = max(1, tables.BLOCK_BYTES // (8 * len(names)))
        done = 0
        with reading(path), pq.ParquetFile(path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(step, columns=names, use_threads=False):
                arrays = [_decoded(batch.column(name)) for name in names]
                for name, array, kind in zip(names, arrays, kinds, strict=True):
                    if array.null_count and kind not in ("text", "targets"):
                        row = done + int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
                        raise InputError(f"{rows.at(row)}: no value in column {name!r}; allowed: {kind}")
                yield [
                    tables.values_of(array.cast(pa.string()).fill_null("") if kind == "text" else array, kind)
                    for array, kind in zip(arrays, kinds, strict=True)
                ]
                done += batch.num_rows
                report(done / num_rows)

    types = schema.types
    found = tuple(map(_column_type, types))
    rows = Rows(str(path), tuple(schema.names), found, num_rows, read, types=tuple(map(str, types)))
    return rows


def _decoded(array: pa.Array) -> pa.Array:
    """The values of a categorical column of pandas."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _column_type(dtype: pa.DataType) -> ColumnType:
    if pa.types.is_dictionary(dtype):
        return _column_type(dtype.value_type)
    if pa.types.is_integer(dtype):
        return "integers"
    if pa.types.is_floating(dtype):
        return "numbers"
    if pa.types.is_boolean(dtype):
        return "booleans"
    return "text" if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) else "other"
