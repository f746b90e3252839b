"""Sorting of more edges than fit into memory, in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_MOST_FILES = 1024
_COPY_KEYS = 1 << 19
_SORT_BYTES = 48  # per edge in a bucket: key, sorted copy, source and numpy's temporary memory


class EdgeSorter:
    """Sorts edges by (destination, source) and drops self loops and repetitions, in bounded memory.

    Edges go to one file per range of destinations. Each file is then sorted separately. A file that is too large is
    divided again, unless it has a single destination. The result depends neither on the order in which edges were
    added nor on ``memory``.

    Args:
        folder: of the files, which are removed when ``neighbours`` ends.
        num_nodes: node ids are 0 to ``num_nodes - 1``; at most 3 * 10^9.
        num_edges: approximate number of edges, which determines the number of files.
        memory: bytes for sorting.
    """

    def __init__(self, folder: Path, num_nodes: int, num_edges: int, memory: int) -> None:
        self._num_nodes = num_nodes
        self._memory = memory
        self._buckets = _Buckets(folder, num_nodes, 0, num_nodes, max(1, -(-num_edges * _SORT_BYTES // memory)))

    def add(self, source: IntArray, destination: IntArray) -> None:
        """Add edges: node ids, [any number] each."""
        self._buckets.add((destination * self._num_nodes + source)[source != destination])

    def neighbours(self) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Yield ranges of destinations in order: first node, in-degree of each node, sources of all of them."""
        for first, last, keys in self._buckets.sorted(self._memory):
            starts = np.arange(first, last + 1) * self._num_nodes
            degree = np.diff(np.searchsorted(keys, starts))
            yield first, degree, keys - np.repeat(starts[:-1], degree)


class _Buckets:
    """Keys, destination * num_nodes + source, in files by ranges of the destinations ``first`` to ``last - 1``."""

    def __init__(self, folder: Path, num_nodes: int, first: int, last: int, number: int) -> None:
        self._folder = folder
        self._num_nodes = num_nodes
        width = -(-(last - first) // min(last - first, number, _MOST_FILES))
        starts = range(first, last, width)
        self._ranges = [(start, min(start + width, last)) for start in starts]
        self._bounds = np.array(starts, dtype=np.int64)[1:] * num_nodes

    def add(self, keys: IntArray) -> None:
        """Append keys to the files of their ranges."""
        keys = np.sort(keys)
        for bucket, part in zip(self._ranges, np.split(keys, np.searchsorted(keys, self._bounds)), strict=True):
            with self._path(*bucket).open("ab") as file:
                file.write(part.data)

    def sorted(self, memory: int) -> Iterator[tuple[int, int, IntArray]]:
        """Yield each range, or part of one if memory requires it, with its keys: ascending, without repetition."""
        for first, last in self._ranges:
            path = self._path(first, last)
            count = path.stat().st_size // 8 if path.exists() else 0
            if count * _SORT_BYTES > 2 * memory and last - first > 1:
                yield from self._divided(path, first, last, count * _SORT_BYTES // memory).sorted(memory)
                continue
            keys = np.fromfile(path, dtype=np.int64) if count else np.empty(0, dtype=np.int64)
            path.unlink(missing_ok=True)
            keys.sort()
            yield first, last, keys[np.diff(keys, prepend=-1) != 0]

    def _divided(self, path: Path, first: int, last: int, number: int) -> _Buckets:
        parts = _Buckets(self._folder, self._num_nodes, first, last, number)
        with path.open("rb") as file:
            while len(keys := np.fromfile(file, dtype=np.int64, count=_COPY_KEYS)):
                parts.add(keys)
        path.unlink()
        return parts

    def _path(self, first: int, last: int) -> Path:
        return self._folder / f"edges-{first}-{last}.bucket"
