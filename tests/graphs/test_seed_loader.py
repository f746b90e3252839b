from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from ugts_dist.errors import InputError
from ugts_dist.graphs.ahead import ahead
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sampling import NeighborSampler

from .helpers import random_graph

GRAPH = random_graph(200, 3000)


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
        out = loader.node_sampler.sample(batch.step, seeds).output()
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


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(threads: int) -> None:
    plain, loader = make(), make(threads=threads)
    for epoch in (0, 2, 1):
        assert_same(list(loader.epoch(epoch)), list(plain.epoch(epoch)))


def test_micro_batches_of_a_step_have_its_seeds_and_its_draws() -> None:
    whole, parts = list(make().epoch(1)), list(make(micro_batches=3).epoch(1))
    assert [(batch.step, batch.micro_batch) for batch in parts] == [
        (batch.step, k) for batch in whole for k in range(3)
    ]
    for number, batch in enumerate(whole):
        own = parts[3 * number : 3 * number + 3]
        seeds = torch.cat([part.n_id[: part.batch_size] for part in own])
        assert seeds.tolist() == batch.n_id[: batch.batch_size].tolist()
        edges = [{tuple(pair) for pair in part.n_id[part.edge_index].t().tolist()} for part in (batch, *own)]
        assert edges[0] == edges[1] | edges[2] | edges[3]


def test_more_micro_batches_than_seeds_are_refused() -> None:
    told = r"^batch\.micro_batches is 5, allowed is 1 to 3, the seed nodes of a rank in a step$"
    with pytest.raises(InputError, match=told):
        make(world_size=5, micro_batches=5)


def test_batches_wait_in_bounded_number_and_in_order() -> None:
    made: list[int] = []

    def produce(item: int) -> int:
        made.append(item)
        return item * item

    for number, square in enumerate(ahead(produce, range(40), threads=2)):
        assert square == number * number
        assert len(made) <= number + 2 * 2 + 2
    assert sorted(made) == list(range(40))


def test_an_error_of_a_thread_is_raised_where_its_item_is_due() -> None:
    def produce(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    items = ahead(produce, range(10), threads=2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)


def test_threads_end_with_their_consumer() -> None:
    before = threading.active_count()
    batches = make(threads=2).epoch(0)
    next(batches)
    assert threading.active_count() > before
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before


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
