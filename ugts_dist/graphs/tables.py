"""Rows of columns from any file or array, read in blocks and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ugts_dist.errors import InputError

Kind = Literal["integers", "numbers", "targets", "ids", "booleans", "text"]
ColumnType = Literal["integers", "numbers", "booleans", "text", "mixed", "other"]
Block = NDArray[Any]
Column: TypeAlias = Any  # a numpy array, or for text a pyarrow array, whose types are unknown here
AnyRows = TypeVar("AnyRows", bound=Sized)
Report = Callable[[float], None]
Progress = Callable[[str, float], None]
"""Called with the name of a stage and its finished fraction."""

BLOCK_BYTES = 1 << 20
_SPARE_ROWS = 1 << 20

# Allowed columns for each kind of table; ids may also be a mask over all nodes. An empty field of targets is NaN.
HOLDS: dict[Kind, tuple[ColumnType, ...]] = {
    "integers": ("integers",),
    "numbers": ("integers", "numbers", "booleans"),
    "targets": ("integers", "numbers", "booleans"),
    "ids": ("integers", "booleans"),
    "booleans": ("booleans",),
    "text": ("text", "mixed", "integers"),
}


@dataclass(frozen=True)
class Table:
    """[num_rows, num_columns] numbers that can be read any number of times.

    ``read`` yields blocks of rows, of one dtype, and calls its argument with the fraction that is read.
    """

    name: str
    num_columns: int
    num_rows: int | None  # None: known only after reading
    read: Callable[[Report], Iterator[Block]]
    first_row: int = 1  # the number that users give to the first row: a CSV file's header is row 1
    row: str = "row"

    def at(self, row: int) -> str:
        """The row's place (counted from 0), for a message."""
        return f"{self.name} {self.row} {self.first_row + row}"

    def whole(self, expected: int | None = None) -> Block:
        """All rows at once, for tables that are small compared with the graph.

        Raises InputError as ``limited`` does, if the number of rows is known.
        """
        blocks = list(limited(self.name, self.read(silent), expected))
        return np.concatenate(blocks) if blocks else np.empty((0, self.num_columns), dtype=np.int64)


@dataclass(frozen=True)
class Rows:
    """The rows of a file before its columns are chosen.

    ``read`` takes the numbers of columns and the kind of each, and yields a list of columns for each block of rows. It
    raises InputError for a field that is missing or of another kind.
    """

    name: str
    names: tuple[str, ...]  # of the columns; empty if the file has none
    types_found: tuple[ColumnType, ...]  # content of each column; for text files from the first rows
    num_rows: int | None
    read: Callable[[Sequence[int], Sequence[Kind], Report], Iterator[list[Column]]]
    first_row: int = 1
    row: str = "row"
    types: tuple[str, ...] = ()  # of the columns, if the file declares them
    array: Block | None = None  # all of it, [num_rows, num_columns], if it can be sliced

    @property
    def num_columns(self) -> int:
        return len(self.types_found)

    def at(self, row: int) -> str:
        """The row's place (counted from 0), for a message."""
        return f"{self.name} {self.row} {self.first_row + row}"

    def label(self, column: int) -> str:
        """The user's name of the column."""
        return f"column {self.names[column]!r}" if self.names else f"column {column + 1}"

    def require(self, columns: Sequence[int], kinds: Sequence[Kind]) -> None:
        """Raise InputError for a column that is declared as another kind."""
        for column, kind in zip(columns, kinds, strict=True):
            if self.types and self.types_found[column] not in HOLDS[kind]:
                where = f"{self.label(column)} " if self.names else ""
                raise InputError(f"{self.name}: {where}holds {self.types[column]}; allowed: {named(kind)}")

    def column(self, column: int, kind: Kind) -> Column:
        """A whole column."""
        self.require([column], [kind])
        if self.array is not None and kind != "text":
            return np.array(self.array[:, column])
        blocks = [block[0] for block in self.read([column], [kind], silent)]
        if kind == "text":  # of any length
            return pa.concat_arrays([pa.array([], pa.large_string()), *(b.cast(pa.large_string()) for b in blocks)])
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.int64)

    def table(self, kind: Kind, columns: Sequence[int] | None = None) -> Table:
        """The given columns, by default all, as a table of numbers."""
        chosen = range(self.num_columns) if columns is None else columns
        kinds: list[Kind] = [kind] * len(chosen)
        self.require(chosen, kinds)
        if self.array is not None and list(chosen) == list(range(chosen[0], chosen[0] + len(chosen))):
            return array_table(self.name, self.array[:, chosen[0] : chosen[0] + len(chosen)], kind, self.row)

        def read(report: Report) -> Iterator[Block]:
            return (np.stack(block, axis=1) for block in self.read(chosen, kinds, report))

        return Table(self.name, len(chosen), self.num_rows, read, self.first_row, self.row)


def array_table(name: str, array: Block, kind: Kind, row: str = "row") -> Table:
    """An array of one or two axes as a table. Raises InputError for other arrays, or another kind of numbers."""
    rows = _two_axes(name, array)
    if column_type(array.dtype) not in HOLDS[kind]:
        raise InputError(f"{name}: holds {array.dtype}; allowed: {kind}")

    def read(report: Report) -> Iterator[Block]:
        step = _step(rows)
        for first in range(0, len(rows), step):
            yield rows[first : first + step]
            report(min(1.0, (first + step) / len(rows)))

    return Table(name, rows.shape[1], len(rows), read, row=row)


def array_rows(name: str, array: Block, row: str = "row") -> Rows:
    """An array of one or two axes as rows. Raises InputError for other arrays."""
    rows = _two_axes(name, array)
    found = column_type(array.dtype)

    def read(columns: Sequence[int], kinds: Sequence[Kind], report: Report) -> Iterator[list[Column]]:
        step = _step(rows)
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            chosen = [(block[:, column], kind) for column, kind in zip(columns, kinds, strict=True)]
            yield [pa.array(values.astype(np.str_)) if kind == "text" else values for values, kind in chosen]
            report(min(1.0, (first + step) / len(rows)))

    num_columns = rows.shape[1]
    types = (str(array.dtype),) * num_columns
    return Rows(name, (), (found,) * num_columns, len(rows), read, row=row, types=types, array=rows)


def values_of(column: Column, kind: Kind) -> Column:
    """A column of pyarrow as this kind: text stays; unknown targets are NaN."""
    if kind == "text":
        return column
    return (column.cast(pa.float64(), safe=False) if kind == "targets" else column).to_numpy(zero_copy_only=False)


def named(kind: Kind) -> str:
    """What a field of this kind may be, for a message."""
    return "numbers, or nothing if unknown" if kind == "targets" else kind


def column_type(dtype: np.dtype[Any]) -> ColumnType:
    """The content of an array of the dtype."""
    found: dict[str, ColumnType] = {"i": "integers", "u": "integers", "f": "numbers", "b": "booleans", "U": "text"}
    return found.get(dtype.kind, "other")


def limited(name: str, blocks: Iterable[AnyRows], expected: int | None) -> Generator[AnyRows, None, None]:
    """The blocks. Raises InputError for far more rows than expected: a small file may unpack to an endless one.

    If there are a few too many, the caller raises an error with their number.
    """
    done = 0
    for block in blocks:
        done += len(block)
        if expected is not None and done > 2 * expected + _SPARE_ROWS:
            raise InputError(f"{name}: has more than {done - 1} rows; allowed: {expected}")
        yield block


def check_ids(table: Table, ids: Block, first: int, num_nodes: int) -> None:
    """Raise InputError for ids that are not nodes; ``first`` is the number of rows before these."""
    if ids.size and (ids.min() < 0 or ids.max() >= num_nodes):
        position = np.argwhere((ids < 0) | (ids >= num_nodes))[0]
        node: Any = ids[tuple(position)]
        raise InputError(f"{table.at(first + int(position[0]))}: node {node}; allowed: 0 to {num_nodes - 1}")


def stage(progress: Progress, name: str) -> Report:
    """Begin a stage: a function of its finished fraction."""
    progress(name, 0.0)
    return lambda done: progress(name, done)


def silent(done: float) -> None:
    """Ignore the progress."""


def _two_axes(name: str, array: Block) -> Block:
    if array.ndim not in (1, 2):
        raise InputError(f"{name}: has shape {array.shape}; allowed: one or two axes")
    return array if array.ndim == 2 else array[:, None]


def _step(rows: Block) -> int:
    """Number of rows per block."""
    return max(1, BLOCK_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
