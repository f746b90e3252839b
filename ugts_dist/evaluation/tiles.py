"""Sums over neighbours of a table that is larger than the memory, read in sequential passes.

Rows of all neighbours would be read at random. Instead, the destinations are cut into ranges whose sums fit into the
memory. For each range the table is read from its begin to its end in tiles, and the terms of a tile are added to the
sums. The terms of a sum are added in the same order as at once, so that it has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ugts_dist.available_memory import available_memory
from ugts_dist.graphs.mapping import is_on_disk, read_soon
from ugts_dist.models import Block, edges_of
from ugts_dist.models.sparse import Pattern

_ENTRY_BYTES = 24  # of an edge of a range: source and value, twice while they are put together; whether in a tile
_ROW_BYTES = 16  # of a destination, besides its sum
_FRACTION_OF_FREE = 0.4  # of the free memory, for one range and one tile
_TILE, _RANGE = 1 / 8, 5 / 8  # fractions of that; what is added in a tile takes as much as the tile
_AHEAD = 1 << 25  # bytes that are read while those before are copied


def is_too_large(table: Tensor) -> bool:
    """Whether a table is on a disk, and the free memory can't hold it."""
    return is_on_disk(table) and table.nbytes > available_memory()


def room(local_world_size: int) -> int:
    """Bytes that a rank may use."""
    return int(_FRACTION_OF_FREE * available_memory()) // local_world_size


def ranges(
    chunks: Sequence[tuple[int, int]], indptr: Tensor, width: int, memory: int
) -> Iterator[list[tuple[int, int]]]:
    """Consecutive chunks of nodes whose sums `[num_nodes, width]` and edges take a part of the memory together.

    A chunk that takes more has a range of its own.
    """
    held, taken = list[tuple[int, int]](), 0
    for start, stop in chunks:
        needed = (4 * width + _ROW_BYTES) * (stop - start) + _ENTRY_BYTES * int(indptr[stop] - indptr[start])
        if held and taken + needed > _RANGE * memory:
            yield held
            held, taken = [], 0
        held.append((start, stop))
        taken += needed
    if held:
        yield held


def tiled_sums(arch: str, blocks: Iterable[Block], table: Tensor, memory: int) -> Tensor:
    """What `aggregate` returns for consecutive blocks, float32 `[num_dst of all, width]`.

    Args:
        table: the messages of all sources, `[num_src, width]`, float32 or bfloat16.
        memory: bytes; see `ranges`.
    """
    edges, width = TiledEdges(arch, blocks), table.shape[1]
    rows_of_tile = tile_rows(table, memory)
    # The sums so far are rows of the same table as the tile: then they are the first term of the next sum.
    rows = torch.zeros(rows_of_tile + edges.num_rows, width)
    for entries, first in edges.by_tiles(rows_of_tile, table.shape[0]):
        _read(table[first : first + rows_of_tile], rows)
        edges.add(entries, first, rows, rows_of_tile)
    return rows[rows_of_tile:]


def tile_rows(table: Tensor, memory: int) -> int:
    """Number of rows of a tile."""
    return max(1, min(table.shape[0], int(_TILE * memory) // (4 * table.shape[1])))


class TiledEdges:
    """The edges of consecutive blocks, by destination. Sources ascend; a self loop, if there is one, is added last.

    Attributes:
        num_rows: number of destinations.
    """

    def __init__(self, arch: str, blocks: Iterable[Block]) -> None:
        indices, values, counts = list[Tensor](), list[Tensor](), list[Tensor]()
        self._start, self._loops = -1, False
        for block in blocks:
            self._start = block.start if self._start < 0 else self._start
            pattern, of_entries = edges_of(arch, block)
            self._loops = pattern.indices.numel() > block.indices.numel()
            indices.append(pattern.indices.to(block.indices.dtype))
            values.append(of_entries)
            counts.append(pattern.indptr.diff().long())
        self._indices, self._values = torch.cat(indices), torch.cat(values)
        counted = torch.cat(counts)
        self.num_rows, self._ends = counted.numel(), counted.cumsum(0)
        if self._loops:
            self._indices[self._ends - 1] = -1  # in no tile

    def by_tiles(self, rows_of_tile: int, num_src: int) -> Iterator[tuple[Tensor, int]]:
        """The positions of edges whose sources are in a tile, ascending, and the first row of the tile."""
        for first in range(0, num_src, rows_of_tile):
            entries = self.in_tile(first, rows_of_tile)
            if entries.numel():
                yield entries, first
        yield from self.loops_by_tiles(rows_of_tile)

    def in_tile(self, first: int, rows_of_tile: int) -> Tensor:
        """The same of one tile, without self loops."""
        return (self._indices >= first).logical_and_(self._indices < first + rows_of_tile).nonzero().flatten()

    def loops_by_tiles(self, rows_of_tile: int) -> Iterator[tuple[Tensor, int]]:
        """The same of the self loops, if there are any, whose sources are the destinations."""
        if self._loops:
            loops, start, stop = self._ends - 1, self._start, self._start + self.num_rows
            self._indices[loops] = torch.arange(start, stop, dtype=self._indices.dtype)
            for first in range(start // rows_of_tile * rows_of_tile, stop, rows_of_tile):
                yield loops[max(0, first - start) : max(0, first + rows_of_tile - start)], first

    def add(self, entries: Tensor, first: int, rows: Tensor, rows_of_tile: int) -> None:
        """Add the terms of a tile, which is in the first of `rows`, to the sums, which are in the others."""
        destinations = torch.searchsorted(self._ends, entries, right=True)
        found, counts = torch.unique_consecutive(destinations, return_counts=True)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), (counts + 1).cumsum(0)])
        place = torch.arange(found.numel()).repeat_interleave(counts) + torch.arange(entries.numel()) + 1
        indices, weights = torch.empty(int(indptr[-1]), dtype=torch.int64), torch.ones(int(indptr[-1]))
        indices[indptr[:-1]] = rows_of_tile + found
        indices[place] = self._indices[entries].long() - first
        weights[place] = self._values[entries]
        for a in range(0, found.numel(), rows_of_tile):
            ends = indptr[a : a + rows_of_tile + 1]
            part = slice(int(ends[0]), int(ends[-1]))
            bags = Pattern(ends - ends[0], indices[part], ends.numel() - 1, rows.shape[0])
            rows[rows_of_tile + found[a : a + rows_of_tile]] = bags.matmul(weights[part], rows)


def _read(source: Tensor, target: Tensor) -> None:
    """Copy a mapped table, which is read ahead piece by piece."""
    pieces = source.split(max(1, _AHEAD // source[0].nbytes))
    start = 0
    read_soon(pieces[0])
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        if following is not None:
            read_soon(following)
        target[start : start + len(piece)] = piece
        start += len(piece)
