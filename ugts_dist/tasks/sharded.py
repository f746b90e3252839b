"""`batch.placement sharded`: each host keeps a share of the features, and fetches what it lacks of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.row_exchange import RowExchange
from ugts_dist.errors import InputError
from ugts_dist.evaluation.whole_graph import is_sparse
from ugts_dist.graphs.ahead import read_ahead
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.feature_share import FeatureShare
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet

B = TypeVar("B")

_log = logging.getLogger(__name__)


def check_sharded(config: Config, data: Data) -> None:
    """Raise InputError for a run that can't have its features on several hosts."""
    if config.batch.placement != "sharded":
        return
    where = ""
    if isinstance(data, GraphSet):
        where = f"data.name {data.name}, whose labels are of whole graphs"
    elif config.task.kind == "link":
        where = "task.kind link"
    elif not config.batch.size:
        where = "batch.size 0 (full batch)"
    elif is_sparse(data):
        where = f"{data.name}, most of whose features are zero: they are held as a sparse matrix"
    if where:
        raise InputError(f"batch.placement is sharded, allowed are auto, host and device with {where}")


def share_out(graph: Graph, config: Config, ranks: Ranks) -> None:
    """Raise InputError as `shared_out` does, and print what each host keeps. Collective."""
    shared, _ = shared_out(graph, config, ranks)
    if config.batch.placement != "sharded" or not (ranks.is_main and config.log.progress):
        return
    if shared.share is None:
        _log.info("features: batch.placement sharded has no effect, as there is one host, which keeps them all")
    else:
        size = (shared.share.stop - shared.share.start) * graph.x[0].nbytes
        _log.info(f"features: {shared.share.parts} hosts keep {size / 1e9:.2f} GB each, and fetch what they lack")


def shared_out(graph: Graph, config: Config, ranks: Ranks) -> tuple[Graph, Ranks]:
    """The graph with this host's share of the features, and the ranks in the order of the shares.

    Both are as they were unless `batch.placement` is sharded and there are several hosts. A host is what the ranks of
    one memory have in common (`Ranks.machine_id`). Collective if `batch.placement` is sharded.

    Raises InputError, on every rank, if the hosts' stores are not all shares, or hosts have unequal numbers of ranks.
    """
    if config.batch.placement != "sharded":
        return graph, ranks
    own = None if graph.share is None else (graph.share.part, graph.share.parts)
    reports = ranks.all_gather_object((ranks.machine_id, own))
    machines, stored = [machine for machine, _ in reports], dict(reports)
    for rank, (machine, other) in enumerate(reports):
        if other != stored[machine]:
            found = f"rank {rank} has another share than other ranks of its host"
            raise InputError(f"batch.placement is sharded, and {found}; allowed is one store a host")
    part_of = dict(zip(stored, _parts(list(stored.values())), strict=True))
    if len(stored) == 1:
        return replace(graph, share=None), ranks
    counts = sorted({machines.count(machine) for machine in machines})
    if len(counts) > 1:
        found = f"hosts have {' and '.join(map(str, counts))} ranks"
        raise InputError(f"batch.placement is sharded, and {found}; allowed are equally many on each")
    order = (part_of[machine] * counts[0] + machines[:rank].count(machine) for rank, machine in enumerate(machines))
    share = FeatureShare.of(part_of[ranks.machine_id], len(stored), graph.num_nodes, graph.some_features)
    return replace(graph, share=share), replace(ranks, order=tuple(order))


def _parts(stored: Sequence[tuple[int, int] | None]) -> list[int]:
    """The number of each host's share: that of its store, or, if the store is whole, one that no store is.

    Raises InputError if the stores are not those of as many hosts.
    """
    count, given = len(stored), [share for share in stored if share is not None]
    for part, parts in given:
        found = f"has share {part + 1}/{parts} of the features"
        if parts != count:
            where = f"batch.placement is sharded on {count} host{'s' if count > 1 else ''}"
            raise InputError(f"{where}, and one {found}; allowed are shares of {count}, or whole stores")
        if given.count((part, parts)) > 1:
            raise InputError(f"batch.placement is sharded, and more than one host {found}; allowed is each share once")
    left = iter(sorted(set(range(count)) - {part for part, _ in given}))
    return [next(left) if share is None else share[0] for share in stored]


def make_exchange(graph: Graph, config: Config, ranks: Ranks) -> RowExchange | None:
    """The exchange of the features of a graph; None if this host has all of them. Collective."""
    if graph.share is None:
        return None
    return RowExchange(graph.x, (graph.share.start, graph.share.stop), ranks, config.run.timeout)


def fetched(
    samples: Iterable[Any], exchange: RowExchange, ids_of: Callable[[Any], Tensor], finish: Callable[[Any, Tensor], B]
) -> Iterator[B]:
    """The batches made of samples, in order. A thread fetches the rows of the next one while one is used.

    Args:
        samples: of the batches, equally many on each rank.
        ids_of: ids of the rows that a sample needs.
        finish: makes a batch of a sample and its rows.
    """

    def batches() -> Generator[B, None, None]:
        for sample in samples:
            yield finish(sample, exchange.rows(ids_of(sample)))

    return read_ahead(batches())
