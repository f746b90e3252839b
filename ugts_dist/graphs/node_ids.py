"""Node ids in the user's own files, and their conversion to the numbers 0, 1, 2, ... of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.tables import Column, Report, Rows, Table, silent

Integers = NDArray[np.int64]
IdKind = Literal["integers", "text"]

_LEAST_ROWS = 1 << 16  # per look-up


@dataclass(frozen=True)
class NodeIds:
    """The id of each node, in the order of the nodes' numbers.

    Attributes:
        source: the file with the ids, for messages.
        kind: how they are read from files.
        values: [num_nodes] integers or text; None if the ids are the numbers themselves.
        num_nodes: number of nodes.
    """

    source: str
    kind: IdKind
    values: pa.Array | None
    num_nodes: int

    def numbers(self, ids: Column) -> Integers:
        """The number of each id; -1 for unknown ids."""
        if self.values is None:
            inside = (ids >= 0) & (ids < self.num_nodes)
            return np.where(inside, ids, -1).astype(np.int64)
        found = pc.index_in(_array(ids), value_set=self.values).fill_null(-1)
        return found.to_numpy(zero_copy_only=False).astype(np.int64)

    def numbers_in(self, rows: Rows, column: int) -> Integers:
        """The number of each row's node. Raises InputError that names the row with an unknown id."""
        return self._known(_read(rows, column, self.kind), rows, column, 0)

    def are_numbers(self, rows: Rows, columns: Sequence[int]) -> bool:
        """Whether columns have row numbers while the ids are words: integers, the first of them not ids."""
        if self.kind == "integers" or any(rows.types_found[column] != "integers" for column in columns):
            return False
        block = next(rows.read(columns, ["integers"] * len(columns), silent), [])
        return all((self.numbers(pa.array(values).cast(pa.string())) < 0).all() for values in block)

    def is_order_of(self, rows: Rows, column: int) -> bool:
        """Whether the rows of a table with ids are in the order of the nodes 0, 1, 2, ..."""
        numbers = self.numbers_in(rows, column)
        return bool((numbers == np.arange(len(numbers))).all())

    def table(self, rows: Rows, columns: tuple[int, ...]) -> Table:
        """Columns of ids as a table of node numbers."""
        if self.values is None:
            return rows.table("integers", columns)
        kinds = [self.kind] * len(columns)
        rows.require(columns, kinds)

        def read(report: Report) -> Iterator[NDArray[np.int64]]:
            done = 0
            for block in _joined(rows.read(columns, kinds, report), max(_LEAST_ROWS, self.num_nodes)):
                found = [self._known(ids, rows, column, done) for ids, column in zip(block, columns, strict=True)]
                done += len(block[0])
                yield np.stack(found, axis=1)

        return Table(rows.name, len(columns), rows.num_rows, read, rows.first_row, rows.row)

    def _known(self, ids: Column, rows: Rows, column: int, first: int) -> Integers:
        numbers = self.numbers(ids)
        unknown = np.flatnonzero(numbers < 0)
        if len(unknown):
            row = int(unknown[0])
            allowed = f"0 to {self.num_nodes - 1}" if self.values is None else f"the ids in {self.source}"
            raise InputError(
                f"{rows.at(first + row)}: id {_shown(ids, row)} in {rows.label(column)}; allowed: {allowed}"
            )
        return numbers


def read_ids(rows: Rows, column: int, kind: IdKind) -> tuple[NodeIds, Integers]:
    """The ids in a column with one for each node, and the node number of each row.

    Integers 0, 1, 2, ... in any order are the node numbers themselves. Other ids are numbered in their order. Raises
    InputError for a missing or repeated id.
    """
    ids = _read(rows, column, kind)
    if kind == "text" and pc.any(pc.equal(ids, "")).as_py():
        row = pc.index(ids, pa.scalar("", ids.type)).as_py()
        raise InputError(f"{rows.at(row)}: no value in {rows.label(column)}; allowed: an id for each node")
    if kind == "integers" and is_permutation(ids, 0):
        return NodeIds(rows.name, kind, None, len(ids)), ids.astype(np.int64)
    values = _array(ids)
    first = pc.index_in(values, value_set=values).to_numpy(zero_copy_only=False)
    repeated = np.flatnonzero(first != np.arange(len(first)))
    if len(repeated):
        row = int(repeated[0])
        found = f"id {_shown(ids, row)} in {rows.label(column)} for the second time"
        raise InputError(f"{rows.at(row)}: {found}; allowed: each id once, or --id-column none if these are no ids")
    return NodeIds(rows.name, kind, values, len(values)), np.arange(len(values))


def is_permutation(values: Column, lowest: int) -> bool:
    """Whether the numbers are a permutation of `lowest`, `lowest + 1`, ..."""
    if not len(values) or values.min() != lowest or values.max() != lowest + len(values) - 1:
        return False
    whole = values.astype(np.int64)
    return bool((whole == values).all() and np.bincount(whole - lowest, minlength=len(values)).max() == 1)


def refuse_repeated(rows: Rows, nodes: Integers) -> None:
    """Raise InputError for the first row whose node has a row before."""
    order = np.argsort(nodes, kind="stable")
    again = order[1:][np.diff(nodes[order]) == 0]
    if len(again):
        row = int(again.min())
        raise InputError(f"{rows.at(row)}: a second row for one node; allowed: one for each")


def _read(rows: Rows, column: int, kind: IdKind) -> Column:
    """A column of ids. Integers may be written as 7.0, as in an array that also has fractions."""
    if kind == "text" or rows.types_found[column] != "numbers":
        return rows.column(column, kind)
    values = rows.column(column, "numbers")
    wrong = np.flatnonzero(~(np.abs(values) < 2**53) | (values % 1 != 0))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"{rows.at(row)}: {values[row]} in {rows.label(column)}; allowed: ids, which are whole")
    return values.astype(np.int64)


def _array(ids: Column) -> pa.Array:
    return ids.cast(pa.large_string()) if isinstance(ids, pa.Array) else pa.array(ids.astype(np.int64))


def _joined(blocks: Iterator[list[Column]], num_rows: int) -> Iterator[list[Column]]:
    """Blocks of at least `num_rows` rows, since each look-up reads all ids of the nodes."""
    waiting: list[list[Column]] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count >= num_rows:
            yield _concatenated(waiting)
            waiting, count = [], 0
    if waiting:
        yield _concatenated(waiting)


def _concatenated(blocks: list[list[Column]]) -> list[Column]:
    return [
        pa.concat_arrays([part.cast(pa.large_string()) for part in parts])
        if isinstance(parts[0], pa.Array)
        else np.concatenate(parts)
        for parts in zip(*blocks, strict=True)
    ]


def _shown(ids: Column, row: int) -> str:
    value = ids[row].as_py() if isinstance(ids, pa.Array) else int(ids[row])
    return repr(value)[:60]
