from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.errors import InputError
from ugts_dist.graphs.loader import SeedPlan


def plans(count: int, batch_size: int, world_size: int, seed: int = 0) -> list[SeedPlan]:
    nodes = torch.arange(count) * 3 + 1
    return [SeedPlan(nodes, batch_size, seed, rank, world_size) for rank in range(world_size)]


def test_products_on_eight_ranks() -> None:
    # The training nodes of OGBN-Products, of which naive splits give ranks different numbers of steps.
    ranks = plans(196_615, 8 * 1024, 8)
    assert {plan.steps_per_epoch for plan in ranks} == {25}
    shares = [plan.seeds(step) for plan in ranks for step in range(25, 50)]
    assert torch.cat(shares).sort().values.tolist() == ranks[0].nodes.tolist()
    sizes = {share.numel() for share in shares}
    assert max(sizes) <= 1024
    assert max(sizes) - min(sizes) <= 1


@settings(derandomize=True)
@given(st.integers(1, 120), st.integers(1, 150), st.integers(1, 9), st.integers(0, 3), st.integers(0, 10**6))
def test_every_seed_once_an_epoch(count: int, batch_size: int, world_size: int, epoch: int, seed: int) -> None:
    steps_per_epoch = -(-count // batch_size)
    try:
        ranks = plans(count, batch_size, world_size, seed)
    except InputError:
        assert batch_size < world_size or count // steps_per_epoch < world_size
        return
    assert {plan.steps_per_epoch for plan in ranks} == {steps_per_epoch}
    single = SeedPlan(ranks[0].nodes, batch_size, seed)
    met = []
    for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
        shares = [plan.seeds(step) for plan in ranks]
        sizes = [share.numel() for share in shares]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) <= batch_size
        # Ranks cut the seeds of the one step that one rank would have.
        assert torch.cat(shares).tolist() == single.seeds(step).tolist()
        assert {plan.step_size(step) for plan in ranks} == {sum(sizes)}
        met += torch.cat(shares).tolist()
    assert sorted(met) == ranks[0].nodes.tolist()


def order(plan: SeedPlan, epoch: int) -> list[int]:
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    return torch.cat([plan.seeds(step) for step in steps]).tolist()


def test_order_depends_on_seed_and_epoch_alone() -> None:
    nodes = torch.arange(100)
    plan = SeedPlan(nodes, 7, seed=5)
    first = order(plan, 0)
    assert first != order(plan, 1)
    assert first != order(SeedPlan(nodes, 7, seed=6), 0)
    assert first == order(plan, 0)  # after other epochs were asked for
    assert first == order(SeedPlan(nodes, 33, seed=5), 0)
    assert first == order(SeedPlan(nodes.flip(0), 7, seed=5), 0)
    # Written down once: another machine or library version must give these.
    assert first[:8] == FIRST_SEEDS


FIRST_SEEDS = [77, 66, 20, 22, 21, 97, 83, 48]


def test_orders_are_shuffled_evenly() -> None:
    # Where node 0 stands in 2000 epochs of 10 nodes: mean 4.5, standard error 0.064.
    plan = SeedPlan(torch.arange(10), 10, seed=1)
    places = torch.tensor([order(plan, epoch).index(0) for epoch in range(2000)])
    assert abs(float(places.double().mean()) - 4.5) < 0.25
    assert places.bincount(minlength=10).min() > 140


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch_size": 0}, "batch.size: 0 is the number of seed nodes a step over all ranks; allowed: 1"),
        ({"batch_size": -3}, "batch.size: -3 is the number of seed nodes a step over all ranks; allowed: 1"),
        (
            {"batch_size": 3, "world_size": 4},
            "batch.size: 3 is the number of seed nodes a step over all ranks; allowed: 4",
        ),
        (
            {"batch_size": 4, "world_size": 4},
            "batch.size: 4 cuts 10 training nodes into 3 steps of 3 or more, too few for 4",
        ),
        (
            {"batch_size": 64, "world_size": 11},
            "batch.size: 64 cuts 10 training nodes into 1 steps of 10 or more",
        ),
        (
            {"nodes": torch.empty(0, dtype=torch.int64)},
            "training nodes: shape (0,); allowed: a list of one or more",
        ),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2; allowed: 0 to world size - 1"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"world_size": 0}, "rank 0 of 0"),
    ],
)
def test_bad_plans(arguments: dict[str, Any], told: str) -> None:
    good: dict[str, Any] = {"nodes": torch.arange(10), "batch_size": 5, "seed": 0}
    with pytest.raises(InputError) as caught:
        SeedPlan(**(good | arguments))
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
