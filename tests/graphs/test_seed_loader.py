from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from ugts_dist.errors import InputError
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sampling import NeighborSampler

from .helpers import random_graph

GRAPH = random_graph(200, 3000)
# Python 3.12 warns of forks beside threads; these workers use one thread each.
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def make(epochs: int = 3, rank: int = 0, world_size: int = 1, **kwargs: Any) -> SeedLoader:
    plan = SeedPlan(GRAPH.train, 20, 7, rank, world_size)
    sampler = NeighborSampler(GRAPH.indptr, GRAPH.indices, [4, 3], 7)
    return SeedLoader(graph_data(GRAPH), plan, sampler, epochs, **kwargs)


def assert_same(left: list[Data], right: list[Data]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.step == other.step
        assert one.batch_size == other.batch_size
        assert one.num_sampled_nodes == other.num_sampled_nodes
        assert one.num_sampled_edges == other.num_sampled_edges
        for key in ("x", "y", "degree", "n_id", "edge_index"):
            assert torch.equal(one[key], other[key]), key


def test_batches_are_what_plan_and_sampler_say() -> None:
    loader = make()
    batches = list(loader.epoch(1))
    steps = loader.plan.steps_per_epoch
    assert [batch.step for batch in batches] == list(range(steps, 2 * steps))
    assert len(loader) == steps
    for batch in batches:
        seeds = loader.plan.seeds(batch.step)
        out = loader.node_sampler.sample(batch.step, seeds)
        assert torch.equal(batch.n_id, out.node)
        assert torch.equal(batch.n_id[: batch.batch_size], seeds)
        assert torch.equal(batch.edge_index, torch.stack([out.row, out.col]))
        assert torch.equal(batch.x, GRAPH.x[out.node])
        assert torch.equal(batch.y, GRAPH.y[out.node])
        assert torch.equal(batch.degree, GRAPH.degree[out.node])
        assert batch.num_sampled_nodes == out.num_sampled_nodes
        assert batch.num_sampled_edges == out.num_sampled_edges
        assert batch.num_nodes == out.node.numel()
        batch.validate()


def test_an_epoch_goes_on_in_the_middle() -> None:
    whole = list(make().epoch(2))
    assert_same(list(make().epoch(2, first_step=2)), whole[2:])
    assert list(make().epoch(0, first_step=len(whole))) == []


def test_ranks_share_a_step() -> None:
    single = list(make().epoch(0))
    shares = [list(make(rank=rank, world_size=3).epoch(0)) for rank in range(3)]
    for step, batch in enumerate(single):
        seeds = torch.cat([share[step].n_id[: share[step].batch_size] for share in shares])
        assert seeds.tolist() == batch.n_id[: batch.batch_size].tolist()
        edges = [
            {tuple(pair) for pair in part.n_id[part.edge_index].t().tolist()}
            for part in (batch, *(share[step] for share in shares))
        ]
        assert edges[0] == edges[1] | edges[2] | edges[3]


@forks
@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 1, "persistent_workers": True},
        {"num_workers": 2, "filter_per_worker": True},
        {"num_workers": 2, "prefetch_factor": 1},
        {"filter_per_worker": True},
    ],
    ids=str,
)
def test_workers_do_not_matter(options: dict[str, Any]) -> None:
    plain, loader = make(), make(**options)
    # Persistent workers keep the state that they were started with: the later epochs would show it.
    for epoch in (0, 2, 1):
        assert_same(list(loader.epoch(epoch)), list(plain.epoch(epoch)))


def test_epochs_may_be_read_side_by_side() -> None:
    loader = make()
    first, second = loader.epoch(0), loader.epoch(1)
    pairs = list(zip(first, second, strict=True))
    assert_same([one for one, _ in pairs], list(make().epoch(0)))
    assert_same([other for _, other in pairs], list(make().epoch(1)))


def test_every_seed_once_an_epoch() -> None:
    seeds = [batch.n_id[: batch.batch_size] for batch in make().epoch(0)]
    assert torch.cat(seeds).sort().values.tolist() == GRAPH.train.tolist()


def test_node_arrays_are_not_copied() -> None:
    data = graph_data(GRAPH)
    assert data.x.data_ptr() == GRAPH.x.data_ptr()
    assert data.y.data_ptr() == GRAPH.y.data_ptr()
    assert data.num_nodes == GRAPH.num_nodes
    assert data.edge_index.numel() == 0


@pytest.mark.parametrize(
    ("epoch", "first_step", "told"),
    [
        (3, 0, "epoch 3 is not planned; allowed: 0 to 2"),
        (-1, 0, "epoch -1 is not planned; allowed: 0 to 2"),
        (0, -1, "first step -1 is not in an epoch; allowed: 0 to 4"),
        (0, 5, "first step 5 is not in an epoch; allowed: 0 to 4"),
    ],
)
def test_epochs_out_of_range(epoch: int, first_step: int, told: str) -> None:
    with pytest.raises(InputError, match=f"^{told}$"):
        make().epoch(epoch, first_step)
