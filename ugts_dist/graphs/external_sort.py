"""Sorting of more edges than fit into memory, in files."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ugts_dist.graphs.edge_data import EdgeColumns, Keys, Values

IntArray = NDArray[np.int64]

_MOST_FILES = 1024
_COPY_KEYS = 1 << 19
_ADDED_KEYS = 1 << 19  # that are divided at once: fewer of them would open each file more often
_SORT_BYTES = 48  # per edge in a bucket: key, sorted copy, source and numpy's temporary memory
_ORDER_BYTES, _VALUE_BYTES = 32, 16  # per edge with values: its place in the order; per value: it and its copies


class EdgeSorter:
    """Sorts edges by (destination, source) and drops self loops and repetitions, in bounded memory.

    Edges go to one file per range of destinations, and their values to another. Each file is then sorted separately. A
    file that is too large is divided again, unless it has a single destination. The result depends neither on the order
    in which edges were added nor on ``memory``. Repeated edges are merged by the rule of ``EdgeColumns.merged``.

    Args:
        folder: of the files, which are removed when ``neighbours`` ends.
        num_nodes: node ids are 0 to ``num_nodes - 1``; at most 3 * 10^9.
        num_edges: approximate number of edges, which determines the number of files.
        memory: bytes for sorting.
        columns: the values of each edge, by default none.
    """

    def __init__(
        self, folder: Path, num_nodes: int, num_edges: int, memory: int, columns: EdgeColumns | None = None
    ) -> None:
        self._num_nodes = num_nodes
        self._memory = memory
        self._columns = columns or EdgeColumns()
        number = max(1, -(-num_edges * _edge_bytes(self._columns) // memory))
        self._buckets = _Buckets(folder, num_nodes, 0, num_nodes, number, self._columns)
        self._waiting: list[tuple[Keys, Values]] = []

    def add(self, source: IntArray, destination: IntArray, values: Values | None = None) -> None:
        """Add edges: node ids, [any number] each, and their values, [the same number, number of columns]."""
        keep = source != destination
        keys = (destination * self._num_nodes + source)[keep]
        self._waiting.append((keys, _no_values(len(keys), self._columns) if values is None else values[keep]))
        if sum(len(keys) for keys, _ in self._waiting) >= _ADDED_KEYS:
            self._divide()

    def _divide(self) -> None:
        """Put the waiting edges into their files."""
        if self._waiting:
            keys, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._buckets.add(keys, values)

    def neighbours(self) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Yield ranges of destinations in order: first node, in-degree of each node, sources of all of them."""
        return ((first, degree, sources) for first, degree, sources, _ in self.edges())

    def edges(self) -> Generator[tuple[int, IntArray, IntArray, Values], None, None]:
        """Yield the same with the values of the edges. Raises RepeatedEdgeError as ``EdgeColumns.merged`` does."""
        self._divide()
        for first, last, keys, values in self._buckets.sorted(self._memory):
            starts = np.arange(first, last + 1) * self._num_nodes
            degree = np.diff(np.searchsorted(keys, starts))
            yield first, degree, keys - np.repeat(starts[:-1], degree), values


class _Buckets:
    """Keys, destination * num_nodes + source, in files by ranges of the destinations ``first`` to ``last - 1``."""

    def __init__(self, folder: Path, num_nodes: int, first: int, last: int, number: int, columns: EdgeColumns) -> None:
        self._folder = folder
        self._num_nodes = num_nodes
        self._columns = columns
        width = -(-(last - first) // min(last - first, number, _MOST_FILES))
        starts = range(first, last, width)
        self._ranges = [(start, min(start + width, last)) for start in starts]
        self._bounds = np.array(starts, dtype=np.int64)[1:] * num_nodes

    def add(self, keys: Keys, values: Values) -> None:
        """Append keys and their values to the files of their ranges."""
        if self._columns.number:
            order = np.argsort(keys)
            keys, values = keys[order], values[order]
        else:
            keys = np.sort(keys)
        bounds = np.searchsorted(keys, self._bounds)
        for bucket, part in zip(self._ranges, np.split(keys, bounds), strict=True):
            _append(self._keys_path(*bucket), part)
        if self._columns.number:
            for bucket, rows in zip(self._ranges, np.split(values, bounds), strict=True):
                _append(self._values_path(*bucket), rows)

    def sorted(self, memory: int) -> Iterator[tuple[int, int, Keys, Values]]:
        """Yield each range, or part of one if memory requires it, with its keys, ascending and without repetition, and
        their values.
        """
        size = _edge_bytes(self._columns)
        for first, last in self._ranges:
            path = self._keys_path(first, last)
            count = path.stat().st_size // 8 if path.exists() else 0
            if count * size > 2 * memory and last - first > 1:
                yield from self._divided(first, last, count * size // memory).sorted(memory)
                continue
            keys, values = self._read(first, last) if count else (np.empty(0, np.int64), _no_values(0, self._columns))
            self._remove(first, last)
            if self._columns.number:
                yield first, last, *self._columns.merged(keys, values)
            else:
                keys.sort()
                keys = keys[np.diff(keys, prepend=-1) != 0]
                yield first, last, keys, _no_values(len(keys))

    def _read(self, first: int, last: int) -> tuple[Keys, Values]:
        """All keys and values of a range."""
        keys = np.fromfile(self._keys_path(first, last), dtype=np.int64)
        if not self._columns.number:
            return keys, _no_values(len(keys))
        values = np.fromfile(self._values_path(first, last), dtype=np.float32)
        return keys, values.reshape(len(keys), self._columns.number)

    def _divided(self, first: int, last: int, number: int) -> _Buckets:
        parts = _Buckets(self._folder, self._num_nodes, first, last, number, self._columns)
        width, done = self._columns.number, 0
        with self._keys_path(first, last).open("rb") as file:
            while len(keys := np.fromfile(file, dtype=np.int64, count=_COPY_KEYS)):
                values = _no_values(len(keys))
                if width:
                    path, count = self._values_path(first, last), len(keys) * width
                    values = np.fromfile(path, np.float32, count, offset=4 * done * width).reshape(len(keys), width)
                parts.add(keys, values)
                done += len(keys)
        self._remove(first, last)
        return parts

    def _remove(self, first: int, last: int) -> None:
        for path in (self._keys_path(first, last), self._values_path(first, last)):
            path.unlink(missing_ok=True)

    def _keys_path(self, first: int, last: int) -> Path:
        return self._folder / f"edges-{first}-{last}.bucket"

    def _values_path(self, first: int, last: int) -> Path:
        return self._folder / f"values-{first}-{last}.bucket"


def _append(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(array).data)


def _no_values(number: int, columns: EdgeColumns | None = None) -> Values:
    return np.empty((number, columns.number if columns else 0), dtype=np.float32)


def _edge_bytes(columns: EdgeColumns) -> int:
    """Bytes of memory to sort an edge."""
    return _SORT_BYTES + (_ORDER_BYTES + _VALUE_BYTES * columns.number if columns.number else 0)
