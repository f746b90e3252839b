"""Rows of numbers in NPY, Parquet and CSV files (or in tensors), read block after block in bounded memory."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import reading

Kind = Literal["integers", "numbers", "ids"]
Block = NDArray[Any]
Report = Callable[[float], None]

BLOCK_BYTES = 1 << 20

# numpy's letters for what each kind of table may hold; ids may also be a mask over all nodes.
_LETTERS: dict[Kind, str] = {"integers": "iu", "numbers": "iufb", "ids": "iub"}


@dataclass(frozen=True)
class Table:
    """[num_rows, num_columns] numbers that can be read any number of times.

    ``read`` yields blocks of rows, of one dtype, and calls its argument with the fraction that is read.
    """

    name: str
    num_columns: int
    num_rows: int | None  # None: known only when all is read
    read: Callable[[Report], Iterator[Block]]
    first_row: int = 1  # of what a person would call rows: a CSV file's header is row 1
    row: str = "row"

    def at(self, row: int) -> str:
        """Where the row (from 0) is, for a message."""
        return f"{self.name} {self.row} {self.first_row + row}"

    def whole(self) -> Block:
        """All rows at once, for tables that are small beside the graph."""
        blocks = list(self.read(_silent))
        return np.concatenate(blocks) if blocks else np.empty((0, self.num_columns), dtype=np.int64)


def open_table(path: Path, kind: Kind) -> Table:
    """A table in a file, by the end of its name: .npy, .parquet, .csv or .csv.gz.

    CSV fields are separated by commas, semicolons, tabs or single spaces; a first row without a number is a
    header. An NPY array has one or two axes. Raises InputError where the file is missing, is of another kind,
    or does not hold ``kind``; reading names the row of a field that is missing or is no number.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.name.endswith(".npy"):
        return _npy(path, kind)
    if path.name.endswith(".parquet"):
        return _parquet(path, kind)
    if path.name.endswith((".csv", ".csv.gz")):
        return _csv(path, kind)
    raise InputError(f"{path}: is of no known kind; allowed: .npy, .parquet, .csv, .csv.gz")


def array_table(name: str, array: Block, kind: Kind, row: str = "row") -> Table:
    """An array of one or two axes as a table. Raises InputError for others, or another kind of numbers."""
    if array.ndim not in (1, 2):
        raise InputError(f"{name}: has shape {array.shape}; allowed: one or two axes")
    if array.dtype.kind not in _LETTERS[kind]:
        raise InputError(f"{name}: holds {array.dtype}; allowed: {kind}")
    rows = array if array.ndim == 2 else array[:, None]
    step = max(1, BLOCK_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))

    def read(report: Report) -> Iterator[Block]:
        for first in range(0, len(rows), step):
            yield rows[first : first + step]
            report(min(1.0, (first + step) / len(rows)))

    return Table(name, rows.shape[1], len(rows), read, row=row)


def tensor_table(name: str, tensor: Tensor, kind: Kind) -> Table:
    """A tensor as a table; see ``array_table``."""
    return array_table(name, tensor.numpy(), kind)


def edge_table(path: Path) -> Table:
    """A table of edges: sources and destinations in two columns, or an NPY array of [2, num_edges]."""
    if path.name.endswith(".npy") and path.is_file():
        array = _mapped(path)
        if array.ndim == 2 and array.shape[0] == 2 != array.shape[1]:
            return array_table(str(path), array.T, "integers", row="column")
    table = open_table(path, "integers")
    if table.num_columns != 2:
        raise InputError(f"{path}: has {table.num_columns} columns; allowed: 2, source and destination")
    return table


def _npy(path: Path, kind: Kind) -> Table:
    return array_table(str(path), _mapped(path), kind)


def _mapped(path: Path) -> Block:
    with reading(path):
        array: Block = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def _parquet(path: Path, kind: Kind) -> Table:
    with reading(path), pq.ParquetFile(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    if not schema.names:
        raise InputError(f"{path}: has no columns")
    for field in schema:
        if not _holds(field.type, kind):
            raise InputError(f"{path}: column {field.name!r} holds {field.type}; allowed: {kind}")
    step = max(1, BLOCK_BYTES // (8 * len(schema.names)))

    def read(report: Report) -> Iterator[Block]:
        done = 0
        with reading(path), pq.ParquetFile(path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(step, use_threads=False):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if column.null_count:
                        row = done + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
                        raise InputError(f"{table.at(row)}: no value in column {name!r}; allowed: {kind}")
                yield np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1)
                done += batch.num_rows
                report(done / num_rows)

    table = Table(str(path), len(schema.names), num_rows, read)
    return table


def _holds(dtype: pa.DataType, kind: Kind) -> bool:
    letters = _LETTERS[kind]
    return bool(
        pa.types.is_integer(dtype)
        or ("f" in letters and pa.types.is_floating(dtype))
        or ("b" in letters and pa.types.is_boolean(dtype))
    )


def _csv(path: Path, kind: Kind) -> Table:
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        first = file.readline(BLOCK_BYTES).decode("utf-8-sig", errors="replace").strip("\r\n")
    delimiter = next((mark for mark in ",;\t " if mark in first), ",")
    fields = first.split(delimiter)
    header = not any(_is_number(field) for field in fields)
    if not first:
        raise InputError(f"{path}: is empty; allowed: rows of {kind}")
    dtype = pa.float64() if kind == "numbers" else pa.int64()
    names = [f"f{column}" for column in range(len(fields))]
    read_options = csv.ReadOptions(
        use_threads=False,  # so that a complaint tells the row
        block_size=BLOCK_BYTES,
        skip_rows=int(header),
        column_names=names,
    )
    parse_options = csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False)
    # No text stands for a missing value, so that any is complained of.
    convert_options = csv.ConvertOptions(column_types=dict.fromkeys(names, dtype), null_values=[])

    def read(report: Report) -> Iterator[Block]:
        size = path.stat().st_size
        with _csv_reading(path, len(names), kind), pa.OSFile(str(path)) as file:
            stream = pa.CompressedInputStream(file, "gzip") if path.suffix == ".gz" else file
            for batch in csv.open_csv(stream, read_options, parse_options, convert_options):
                yield np.stack([column.to_numpy() for column in batch.columns], axis=1)
                report(min(1.0, file.tell() / size))

    return Table(str(path), len(names), None, read, first_row=1 + int(header))


@contextmanager
def _csv_reading(path: Path, num_columns: int, kind: Kind) -> Iterator[None]:
    """Say in our own words what pyarrow complains of, with the row."""
    with reading(path):
        try:
            yield
        except pa.ArrowInvalid as error:
            if wrong := re.search(r"column #(\d+): Row #(\d+): .*invalid value '(.*)'", str(error), re.DOTALL):
                column, row, value = wrong.groups()
                found = (
                    f"{value[:40]!r} in column {int(column) + 1}"
                    if value.strip()
                    else f"no value in column {int(column) + 1}"
                )
                raise InputError(f"{path} row {row}: {found}; allowed: {kind}") from None
            if wrong := re.search(r"Row #(\d+): Expected \d+ columns, got (\d+)", str(error)):
                row, count = wrong.groups()
                raise InputError(
                    f"{path} row {row}: {count} fields; allowed: {num_columns}, as in the first row"
                ) from None
            raise


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"'))
    except ValueError:
        return not text.strip()  # an empty field is a missing number, and no name of a column
    return True


def _silent(done: float) -> None:
    pass
