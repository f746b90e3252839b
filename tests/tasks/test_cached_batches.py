"""Features that are read from the file of a store through a cache: the same batches, networks and tickets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.link_split import link_split
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.models import Rows
from ugts_dist.tasks import cached_batches
from ugts_dist.tasks.batches import SampledBatches
from ugts_dist.tasks.link_batches import SampledLinks
from ugts_dist.training.fit import fit

ROW = 64  # bytes
MEMORY = 200 * ROW  # for two thirds of the rows


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(planted_graph(), tmp_path / "store")
    return tmp_path / "store"


def settings(cache_bytes: int, **changes: Any) -> Config:
    small: dict[str, Any] = {"run__epochs": 2, "batch__size": 8, "batch__fan_out": [4, 2]}
    return config(batch__cache_bytes=cache_bytes, **{**small, **changes})


def features(batch: Any) -> torch.Tensor:
    assert isinstance(batch.x, Rows)
    return batch.x.gather()


def sampled(graph: Graph, chosen: Config) -> SampledBatches:
    return SampledBatches(graph, chosen, Ranks(), FeatureTables(graph))


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_batches_are_the_same(store: Path, threads: int, micro_batches: int) -> None:
    graph = open_store(store)
    changes: dict[str, Any] = {"batch__threads": threads, "batch__micro_batches": micro_batches}
    plain = sampled(graph, settings(0, **changes))
    through = sampled(graph, settings(MEMORY, **changes))
    cache = through._inputs.cache
    assert cache is not None
    assert cache.num_slots == 200
    for epoch in range(2):
        for batch, wanted in zip(through.epoch(epoch), plain.epoch(epoch), strict=True):
            assert torch.equal(batch.nodes, wanted.nodes)
            assert torch.equal(features(batch), features(wanted))
            assert torch.equal(features(batch), graph.x[batch.nodes])
        assert cache.table.numel() == 0  # an evaluation follows
    assert cache.hits > 0
    assert cache.misses >= 300


def test_pairs_are_the_same(store: Path) -> None:
    split = link_split(open_store(store), 0.05, 0.1, 0)
    batches = [
        SampledLinks(split, settings(size, task__kind="link", batch__size=8), Ranks(), FeatureTables(split.graph))
        for size in (0, 250 * ROW)
    ]
    for wanted, batch in zip(*(each.epoch(0) for each in batches), strict=True):
        assert torch.equal(batch.pairs, wanted.pairs)
        assert torch.equal(features(batch), features(wanted))


def test_an_epoch_that_is_left_can_be_followed_by_another(store: Path) -> None:
    batches = sampled(open_store(store), settings(MEMORY))
    wanted = [features(batch) for batch in sampled(open_store(store), settings(0)).epoch(1)]
    left = batches.epoch(0)
    next(left)
    left.close()  # type: ignore[attr-defined]
    got = [features(batch) for batch in batches.epoch(1)]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("arch", ["gcn", "sage", "gat", "gin"])
def test_tickets_are_the_same(store: Path, tmp_path: Path, arch: str) -> None:
    files = []
    for size in (0, MEMORY):
        folder = tmp_path / f"run-{size}"
        folder.mkdir()
        fit(settings(size, model__arch=arch), open_store(store), Ranks(), folder)
        files.append((folder / "best.ticket").read_bytes())
    assert files[0] == files[1]


def rank_of_two(rank: int, world_size: int, store: Path, size: int, folder: Path) -> bytes:
    fit(settings(size), open_store(store), Ranks(rank, world_size, process_group=dist.group.WORLD), folder)
    dist.barrier()
    return (folder / "best.ticket").read_bytes()


def test_two_ranks_find_the_same_ticket(store: Path, tmp_path: Path) -> None:
    tickets = []
    for size in (0, 2 * MEMORY):
        folder = tmp_path / f"run-{size}"
        folder.mkdir()
        tickets += spawn(2, rank_of_two, 2, store, size, folder)
    assert len(set(tickets)) == 1


def test_the_ranks_of_a_machine_share_the_memory(store: Path) -> None:
    ranks = dataclasses.replace(Ranks(), local_world_size=4)
    cache = cached_batches.make_cache(open_store(store), settings(MEMORY), ranks)
    assert cache is not None
    assert cache.num_slots == 50


def test_too_little_memory_is_one_line(store: Path) -> None:
    batches = sampled(open_store(store), settings(10 * ROW))
    with pytest.raises(InputError, match=r"^batch\.cache_bytes: a batch reads \d+ rows, .* room for 10; allowed"):
        next(batches.epoch(0))


def test_by_default_memory_that_suffices_is_left_to_the_system(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = open_store(store)
    assert cached_batches.make_cache(graph, settings(-1), Ranks()) is None
    monkeypatch.setattr(cached_batches, "available_memory", lambda: graph.x.nbytes)
    cache = cached_batches.make_cache(graph, settings(-1), Ranks())
    assert cache is not None
    assert cache.num_slots == 120


def sparse(graph: Graph) -> Graph:
    return dataclasses.replace(graph, x=graph.x * (graph.x > 1.9))


def test_what_has_no_cache(store: Path, tmp_path: Path) -> None:
    in_memory = planted_graph()
    write_store(sparse(in_memory), tmp_path / "sparse")
    cases = {
        "features in memory": (in_memory, settings(MEMORY)),
        "sparse features, which are held in memory": (open_store(tmp_path / "sparse"), settings(MEMORY)),
        "an exact first layer": (open_store(store), settings(MEMORY, batch__first_layer="exact")),
        "no memory for one": (open_store(store), settings(0)),
    }
    caches = {name: cached_batches.make_cache(graph, asked, Ranks()) for name, (graph, asked) in cases.items()}
    assert [name for name, cache in caches.items() if cache is not None] == []
