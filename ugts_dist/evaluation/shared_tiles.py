"""Sums over neighbours of features of which each host has a share: every rank reads every tile, sent by its owners.

The memory is bounded as in `tiles`, and the sums have the same bits. Whole tables never exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import tiles
from ugts_dist.evaluation.node_tables import pieces
from ugts_dist.graphs.feature_share import FeatureShare
from ugts_dist.models import Block

_ROWS_SENT = 1 << 16  # rows per broadcast


class SharedTiles:
    """Streams a table `[num_nodes, width]` to all ranks, which take part in each pass together. Collective.

    Args:
        table: with this host's rows.
        ranks: in the order of the hosts' shares.
    """

    def __init__(self, table: Tensor, share: FeatureShare, ranks: Ranks) -> None:
        self._table, self._share, self._ranks = table, share, ranks
        room = torch.tensor(tiles.room(ranks.local_world_size))
        self._memory = -int(ranks.all_reduce_max(-room))  # of the rank that has least

    def ranges(self, chunks: Sequence[tuple[int, int]], indptr: Tensor) -> Iterator[list[tuple[int, int]]]:
        """This rank's chunks in ranges as `tiles.ranges`, then empty ones while other ranks have some. Collective."""
        own = list(tiles.ranges(chunks, indptr, self._table.shape[1], self._memory))
        most = int(self._ranks.all_reduce_max(torch.tensor(len(own))))
        yield from own
        yield from [[]] * (most - len(own))

    def sums(self, arch: str, blocks: Iterable[Block]) -> Tensor:
        """As `tiles.tiled_sums`, of this rank's nodes: each rank calls it once for each range. Collective."""
        held = list(blocks)
        edges = tiles.TiledEdges(arch, held) if held else None
        (num_nodes, width), rows_of_tile = self._table.shape, tiles.tile_rows(self._table, self._memory)
        rows = torch.zeros(rows_of_tile + (edges.num_rows if edges else 0), width)
        for first in range(0, num_nodes, rows_of_tile):
            self._read(first, rows[: min(rows_of_tile, num_nodes - first)])
            if edges is not None and (entries := edges.in_tile(first, rows_of_tile)).numel():
                edges.add(entries, first, rows, rows_of_tile)
        if edges is not None:
            for entries, first in edges.loops_by_tiles(rows_of_tile):
                start, stop = max(first, self._share.start), min(first + rows_of_tile, self._share.stop)
                rows[start - first : stop - first] = self._table[start:stop]
                edges.add(entries, first, rows, rows_of_tile)
        return rows[rows_of_tile:]

    def _read(self, first: int, target: Tensor) -> None:
        """Fill a tile from its first row on, each rank's part from that rank."""
        ranks, table = self._ranks, self._table
        for source in range(ranks.world_size):
            begin, end = ranks.share_of(table.shape[0], source)
            for start, stop in pieces(max(begin, first), min(end, first + len(target)), _ROWS_SENT):
                rows = (
                    table[start:stop].clone() if ranks.rank == source else table.new_empty(stop - start, table.shape[1])
                )
                dist.broadcast(rows.view(torch.uint8), source, group=ranks.process_group)
                target[start - first : stop - first] = rows
