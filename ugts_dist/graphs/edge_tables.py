"""The weights and features of edges in the user's files, read beside the edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ugts_dist.errors import InputError
from ugts_dist.graphs.edge_data import EdgeColumns, Values
from ugts_dist.graphs.tables import Table, silent


@dataclass(frozen=True)
class EdgeTables:
    """Tables with a row for each row of the edges, in the same order."""

    weight: Table | None = None  # one column
    attr: Table | None = None  # one column or more

    @property
    def columns(self) -> EdgeColumns:
        return EdgeColumns(self.weight is not None, 0 if self.attr is None else self.attr.num_columns)

    def check(self, num_edges: int | None) -> None:
        """Raise InputError for a table of the wrong shape, as far as that is known before reading."""
        if self.weight is not None and self.weight.num_columns != 1:
            raise InputError(f"{self.weight.name}: has {self.weight.num_columns} columns; allowed: 1, of weights")
        for table in (self.weight, self.attr):
            if table is not None and None not in (table.num_rows, num_edges) and table.num_rows != num_edges:
                raise _unequal(table, table.num_rows, num_edges)


class EdgeReader:
    """Reads the weights and features of the next edges, as many as a block of edges has."""

    def __init__(self, tables: EdgeTables) -> None:
        self._feeds = [_Feed(tables.weight, is_weight=True)] if tables.weight is not None else []
        self._feeds += [_Feed(tables.attr, is_weight=False)] if tables.attr is not None else []

    def take(self, count: int) -> Values:
        """The values of the next edges, [count, number of columns].

        Raises InputError that names the row of a number that is not allowed, and for a table that ends.
        """
        parts = [feed.take(count) for feed in self._feeds]
        return np.concatenate(parts, axis=1) if parts else np.empty((count, 0), dtype=np.float32)

    def end(self) -> None:
        """Raise InputError for a table with more rows than there were edges."""
        for feed in self._feeds:
            feed.end()


class _Feed:
    """The rows of one table, in blocks of any length."""

    def __init__(self, table: Table, is_weight: bool) -> None:
        self._table, self._is_weight = table, is_weight
        self._blocks = table.read(silent)
        self._rest = np.empty((0, table.num_columns), dtype=np.float32)
        self._read = 0

    def take(self, count: int) -> Values:
        parts, missing = [self._rest], count - len(self._rest)
        while missing > 0:
            block = self._next()
            if block is None:
                raise _unequal(self._table, self._read, "more")
            parts.append(block)
            missing -= len(block)
        values = np.concatenate(parts)
        self._rest = values[count:]
        return values[:count]

    def end(self) -> None:
        if len(self._rest) or self._next() is not None:
            raise _unequal(self._table, f"more than {self._read - len(self._rest)}", self._read - len(self._rest))

    def _next(self) -> Values | None:
        """The next block, checked."""
        found = next((block for block in self._blocks if len(block)), None)
        if found is None:
            return None
        with np.errstate(over="ignore"):
            values: Values = found.astype(np.float32)
        wrong = ~np.isfinite(values)
        if self._is_weight:
            wrong |= values < 0
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            what = "a weight" if self._is_weight else f"edge feature {column}"
            allowed = "finite numbers, 0 or more, or --edge-weight none" if self._is_weight else "finite numbers"
            raise InputError(
                f"{self._table.at(self._read + int(row))}: {found[row, column]} as {what}; allowed: {allowed}"
            )
        self._read += len(values)
        return values


def _unequal(table: Table, found: int | str | None, num_edges: int | str | None) -> InputError:
    return InputError(f"{table.name}: has {found} rows; allowed: {num_edges}, one for each edge")
