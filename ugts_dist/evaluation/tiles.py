"""Sums over neighbours of a table that is larger than the memory, read in sequential passes.

Rows of all neighbours would be read at random. Instead, the destinations are cut into ranges whose sums fit into the
memory. For each range the table is read from its begin to its end in tiles, and the terms of a tile are added to the
sums. The terms of a sum are added in the same order as at once, so that it has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ugts_dist.available_memory import available_memory
from ugts_dist.graphs.mapping import is_on_disk, read_soon
from ugts_dist.models import Block, edges_of
from ugts_dist.models.sparse import Pattern

_ENTRY_BYTES = 48  # of the arrays with a number for every edge of a range
_FRACTION_OF_FREE = 0.5  # of the free memory, for one range and one tile
_AHEAD = 1 << 25  # bytes that are read while those before are copied


def is_too_large(table: Tensor) -> bool:
    """Whether a table is on a disk, and the free memory can't hold it."""
    return is_on_disk(table) and table.nbytes > available_memory()


def room(local_world_size: int) -> int:
    """Bytes that a rank may use."""
    return int(_FRACTION_OF_FREE * available_memory()) // local_world_size


def ranges(chunks: Sequence[tuple[int, int]], indptr: Tensor, row_bytes: int, memory: int) -> Iterator[list[int]]:
    """The numbers of consecutive chunks of nodes whose sums and edges take half of the memory together.

    A chunk that takes more has a range of its own.
    """
    held, taken = list[int](), 0
    for number, (start, stop) in enumerate(chunks):
        needed = 2 * (stop - start) * row_bytes + _ENTRY_BYTES * int(indptr[stop] - indptr[start])
        if held and taken + needed > memory // 2:
            yield held
            held, taken = [], 0
        held.append(number)
        taken += needed
    if held:
        yield held


def tiled_sums(arch: str, block: Block, table: Tensor, memory: int) -> Tensor:
    """What `aggregate` returns for a block, float32 `[num_dst, width]`.

    Args:
        table: the messages of all sources, `[num_src, width]`, float32 or bfloat16.
        memory: bytes for the sums and a tile.
    """
    pattern, values = edges_of(arch, block)
    width = table.shape[1]
    rows_of_tile = max(1, min(table.shape[0], (memory // 2) // (4 * width)))
    # The sums so far are rows of the same table as the tile: then they are the first term of the next sum.
    rows = torch.zeros(rows_of_tile + pattern.num_rows, width)
    sums = rows[rows_of_tile:]
    for first, entries in _by_tiles(pattern, rows_of_tile):
        tile = table[first : first + rows_of_tile]
        _read(tile, rows)
        found, counts = torch.unique_consecutive(pattern.rows[entries], return_counts=True)
        place = torch.arange(found.numel()).repeat_interleave(counts) + torch.arange(entries.numel()) + 1
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), (counts + 1).cumsum(0)])
        indices = torch.empty(entries.numel() + found.numel(), dtype=torch.int64)
        weights = torch.ones(indices.numel())
        indices[indptr[:-1]] = rows_of_tile + found
        indices[place] = pattern.indices[entries].long() - first
        weights[place] = values[entries]
        sums[found] = Pattern(indptr, indices, found.numel(), rows.shape[0]).matmul(weights, rows)
    return sums


def _by_tiles(pattern: Pattern, rows_of_tile: int) -> Iterator[tuple[int, Tensor]]:
    """The first row of a tile, and the positions of the entries in it, row by row.

    Within a row of the pattern, columns ascend but for a self loop at the end, for which its tile is read again.
    """
    tile = pattern.indices.long() // rows_of_tile
    number = int(tile.max()) + 1 if tile.numel() else 0
    rows = pattern.rows
    late = torch.zeros_like(tile)
    late[1:] = ((pattern.indices[1:] < pattern.indices[:-1]) & (rows[1:] == rows[:-1])).long()
    key = tile + late * number
    order = key.argsort(stable=True)
    counts = key.bincount(minlength=2 * number).tolist()
    begin = 0
    for k, count in enumerate(counts):
        if count:
            yield k % number * rows_of_tile, order[begin : begin + count]
        begin += count


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
