"""Features that several hosts share: the same batches, evaluations and tickets as with one copy a host."""

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
from ugts_dist.evaluation import own
from ugts_dist.graphs.graph import Graph
from ugts_dist.tasks import make_task
from ugts_dist.tasks.sharded import shared_out
from ugts_dist.training.fit import fit

HOSTS = {"2 x 1": ["a", "b"], "2 x 2": ["a", "a", "b", "b"], "3 x 1": ["a", "b", "c"]}

OWN: dict[str, Any] = {"factory": "tests.training.own_nets:gcn", "depth": 2}

CASES: dict[str, dict[str, Any]] = {
    "gcn": {},
    "gcn, which transforms first": {"model__width": 8},
    "sage, in micro-batches": {"model__arch": "sage", "batch__micro_batches": 2},
    "gat, threads": {"model__arch": "gat", "batch__threads": 2},
    "gin, no threads": {"model__arch": "gin", "batch__threads": 0},
    "skip connections": {"model__skip": "initial", "model__depth": 3, "batch__fan_out": [3, 2, 2]},
    "dense": {"supermask__method": "dense"},
    "own network": OWN,
}


def settings(placement: str, **changes: Any) -> Config:
    small: dict[str, Any] = {"run__epochs": 2, "batch__size": 13, "batch__fan_out": [4, 2], "run__evaluate_every": 1}
    if changes == OWN:
        return Config.from_dict({**settings(placement).to_dict(), "model": OWN}, "")
    return config(batch__placement=placement, **{**small, **changes})


def ranks_on(hosts: list[str], rank: int) -> Ranks:
    """One of the ranks of the default group; `hosts` are those of all ranks."""
    return Ranks(
        rank, len(hosts), process_group=dist.group.WORLD, machine=hosts[rank], local_world_size=hosts.count(hosts[rank])
    )


def without_others(graph: Graph, hosts: list[str], rank: int) -> Graph:
    """The graph with NaN for the features that the host of a rank lacks: no finite result can come from them."""
    names = list(dict.fromkeys(hosts))
    host, count = names.index(hosts[rank]), len(names)
    held = slice(graph.num_nodes * host // count, graph.num_nodes * (host + 1) // count)
    x = torch.full_like(graph.x, torch.nan)
    x[held] = graph.x[held]
    return dataclasses.replace(graph, x=x)


def same_files(rank: int, hosts: list[str], cases: list[str], folder: Path) -> dict[str, list[str]]:
    """For each case the files of two runs that differ: one on a host with all features, one on `hosts`."""
    whole = dataclasses.replace(planted_graph(num_nodes=301), digests={"x": "0"})
    own._WHOLE_NODES = 0  # own networks are evaluated layer by layer
    differ = {}
    for case in cases:
        runs = []
        for placement, where in (("auto", ["a"] * len(hosts)), ("sharded", hosts)):
            graph = without_others(whole, where, rank) if placement == "sharded" else whole
            run = folder / case / placement
            run.mkdir(parents=True, exist_ok=True)
            fit(settings(placement, **CASES[case]), graph, ranks_on(where, rank), run)
            dist.barrier()
            runs.append(run)
        names = sorted(path.name for path in runs[0].iterdir() if path.suffix in (".ticket", ".safetensors", ".jsonl"))
        assert len(names) >= 2
        differ[case] = [name for name in names if (runs[0] / name).read_bytes() != (runs[1] / name).read_bytes()]
    return differ


@pytest.mark.parametrize(
    ("hosts", "cases"),
    [
        ("2 x 1", ["gcn", "sage, in micro-batches"]),
        ("2 x 2", ["gcn"]),
        ("3 x 1", ["gcn"]),
        pytest.param("2 x 1", list(CASES)[1:], marks=pytest.mark.slow),
    ],
)
def test_tickets_are_the_same(hosts: str, cases: list[str], tmp_path: Path) -> None:
    for differ in spawn(len(HOSTS[hosts]), same_files, HOSTS[hosts], cases, tmp_path):
        assert differ == {case: [] for case in cases}


def same_batches(rank: int, hosts: list[str]) -> int:
    """Compare the batches of epochs, one of which is left early and one begun late. Returns the rows fetched."""
    whole = planted_graph(num_nodes=301)
    plain, sharded = settings("host", batch__threads=1), settings("sharded", batch__threads=1)
    wanted = make_task(whole, plain).batches(plain, ranks_on(hosts, rank))
    batches: Any = make_task(without_others(whole, hosts, rank), sharded).batches(sharded, ranks_on(hosts, rank))
    left = batches.epoch(0)
    next(left)
    left.close()
    for epoch, first_step in ((0, 0), (1, 3)):
        for batch, known in zip(batches.epoch(epoch, first_step), wanted.epoch(epoch, first_step), strict=True):
            assert torch.equal(batch.nodes, known.nodes)
            assert torch.equal(batch.x.gather(), known.x.gather())
            assert torch.equal(batch.x.gather(), whole.x[batch.nodes])
    fetched: int = batches.exchange.traffic.fetched
    return fetched


def test_batches_are_the_same() -> None:
    assert min(spawn(2, same_batches, HOSTS["2 x 1"])) > 0


def order_of(rank: int, hosts: list[str]) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    graph, ranks = shared_out(planted_graph(), settings("sharded"), ranks_on(hosts, rank))
    return ranks.order, None if graph.share is None else (graph.share.start, graph.share.stop)


def test_a_host_is_what_has_one_memory() -> None:
    assert spawn(2, order_of, ["a", "a"]) == [((), None)] * 2
    assert spawn(4, order_of, ["a", "b", "a", "b"]) == [((0, 2, 1, 3), part) for part in [(0, 150), (150, 300)] * 2]
