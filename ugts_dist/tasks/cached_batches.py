"""Batches whose feature rows are read into a cache while the batches before them are trained on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from ugts_dist.available_memory import available_memory
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.whole_graph import is_sparse
from ugts_dist.graphs.ahead import read_ahead
from ugts_dist.graphs.feature_cache import FeatureCache
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.mapping import mapped_file
from ugts_dist.graphs.row_file import RowFile

B = TypeVar("B")

_MOST_COMING = 32  # sampled batches that wait, at most
_FRACTION_OF_FREE = 0.4  # of the free memory for the cache, by default
_ENOUGH = 1.25  # times the size of the features that are enough free memory to need no cache

_log = logging.getLogger(__name__)


def make_cache(graph: Graph, config: Config, ranks: Ranks) -> FeatureCache | None:
    """The cache of a rank for the features of a graph; None if they are not read from a file, or memory suffices."""
    size = config.batch.cache_bytes
    if size == 0 or config.batch.first_layer == "exact" or graph.share is not None or is_sparse(graph):
        return None
    file = mapped_file(graph.x)
    if file is None:
        return None
    if size == -1:
        free = available_memory()
        if free >= _ENOUGH * graph.x.nbytes:
            return None
        size = int(_FRACTION_OF_FREE * free)
    num_slots = min(graph.num_nodes, max(1, size // ranks.local_world_size // graph.x[0].nbytes))
    if ranks.is_main and config.log.progress:
        part = num_slots * ranks.local_world_size / graph.num_nodes
        _log.info(f"features: {graph.x.nbytes / 1e9:.2f} GB in a file, memory for {min(part, 1.0):.0%} of the rows")
    table = torch.empty((num_slots, graph.num_features), dtype=graph.x.dtype)
    return FeatureCache(RowFile(graph.x, file), graph.num_nodes, table)


def cached(
    samples: Iterable[Any],
    cache: FeatureCache,
    rows_of: Callable[[Any], Tensor],
    finish: Callable[[Any, Tensor], B],
    clears: bool = False,
) -> Iterator[B]:
    """The batches made of samples, in order. A thread reads the rows of the next one while one is used.

    Args:
        samples: of the batches.
        rows_of: ids of the rows that a sample needs, without repetition.
        finish: makes a batch of a sample and the slots of its rows in the cache. They are valid until the next batch
            is asked for.
        clears: whether the cache is cleared after the last batch, as before an evaluation, which needs the memory.
    """
    cache.reopen()
    loaded = read_ahead(_loaded(samples, cache, rows_of, finish))
    try:
        for batch, slots in loaded:
            yield batch
            cache.release(slots)
    finally:
        cache.close()  # before the thread is waited for, which may wait for room
        loaded.close()
    if clears:
        cache.clear()


def _loaded(
    samples: Iterable[Any], cache: FeatureCache, rows_of: Callable[[Any], Tensor], finish: Callable[[Any, Tensor], B]
) -> Generator[tuple[B, Tensor], None, None]:
    """Batches and the slots of their rows. Samples wait until theirs are as many rows as the cache holds twice."""
    waiting: deque[tuple[Any, Tensor]] = deque()
    num_rows = 0
    coming = iter(samples)
    while True:
        while num_rows < 2 * cache.num_slots and len(waiting) < _MOST_COMING:
            sample = next(coming, None)
            if sample is None:
                break
            waiting.append((sample, rows_of(sample)))
            num_rows += waiting[-1][1].numel()
        if not waiting:
            return
        sample, rows = waiting.popleft()
        num_rows -= rows.numel()
        slots = cache.load(rows, [following for _, following in waiting])
        yield finish(sample, slots), slots
