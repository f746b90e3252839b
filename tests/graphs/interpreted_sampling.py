"""The kernels of the sampler in Triton's interpreter, on a CPU. `test_device_sampling` runs this file by itself."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ugts_dist import hashing, index_type
from ugts_dist.errors import InputError
from ugts_dist.gpu_kernels import launch
from ugts_dist.graphs import device_sampling
from ugts_dist.graphs.device_sampling import DeviceSampler
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.hashing_kernels import numbers_below

from .helpers import random_graph
from .samples import equal

assert os.environ["TRITON_INTERPRET"] == "1"

Arrays = tuple[Tensor, Tensor]
SEEDS = torch.tensor([29, 4, 3, 11])
few = settings(derandomize=True, max_examples=12)


class Interpreted(NeighborSampler):
    """Samples with the kernels on the CPU."""

    def _kernels(self) -> DeviceSampler:
        return DeviceSampler(self.indptr, self.indices, self.fan_out, self.seed, self.with_edges)


def small_graph(num_nodes: int = 30, num_edges: int = 200) -> Arrays:
    graph = random_graph(num_nodes, num_edges)
    return graph.indptr, graph.indices


@few
@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(1, 2**40),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=300),
)
def test_the_hash(start: int, limit: int, numbers: list[int]) -> None:
    counters, drawn = torch.tensor(numbers), torch.full((len(numbers),), -1)
    launch(numbers_below, len(numbers), counters, drawn, start, limit, len(numbers), block=128)
    bits = hashing.stream(start, counters)
    assert torch.equal(drawn, hashing.below(bits, torch.full_like(counters, limit)))


@few
@given(
    st.integers(6, 40),
    st.integers(0, 300),
    st.lists(st.sampled_from([-1, 1, 2, 3, 8]), min_size=1, max_size=3),
    st.integers(-(2**40), 2**40),
    st.integers(0, 10**9),
    st.sampled_from([torch.int32, torch.int64]),
    st.booleans(),
    st.data(),
)
def test_bits_are_those_of_the_torch_operations(
    num_nodes: int,
    num_edges: int,
    fan_out: list[int],
    seed: int,
    step: int,
    dtype: torch.dtype,
    with_edges: bool,
    data: st.DataObject,
) -> None:
    graph = random_graph(num_nodes, num_edges, seed=num_edges)
    of_graph = (graph.indptr, graph.indices.to(dtype), fan_out, seed, with_edges)
    seeds = torch.tensor(data.draw(st.lists(st.integers(0, num_nodes - 1), unique=True, max_size=8)), dtype=dtype)
    assert equal(Interpreted(*of_graph).sample(step, seeds), NeighborSampler(*of_graph).sample(step, seeds))


@pytest.mark.parametrize("fan_out", [[15, 2], [-1, -1], pytest.param([256], marks=pytest.mark.slow)])
def test_hubs(fan_out: list[int]) -> None:
    """Node 0 has 700 neighbours, node 1 as many as it draws, some have one and the others none."""
    degree = torch.tensor([700, 15] + [1] * 40 + [0] * 758)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), degree.cumsum(0)])
    indices = torch.arange(int(indptr[-1])).int() * 7 % 800
    of_graph, seeds = (indptr, indices, fan_out, 3, True), torch.tensor([5, 0, 700, 1])
    assert equal(Interpreted(*of_graph).sample(1, seeds), NeighborSampler(*of_graph).sample(1, seeds))


@pytest.mark.parametrize("limit", [20, 35])  # of 30 nodes and up to 100 edges in a hop
@pytest.mark.parametrize("fan_out", [[3, 2], [-1, 4]])
def test_types_past_the_limit_of_int32(limit: int, fan_out: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_type, "INT32_MAX", limit)
    of_graph = (*small_graph(), fan_out, 0)
    assert equal(Interpreted(*of_graph).sample(2, SEEDS), NeighborSampler(*of_graph).sample(2, SEEDS))


def test_every_subset_is_as_likely() -> None:
    """Of 3 of 6 neighbours, whose positions are those around a circle; counted without the sampler's own operations."""
    num_nodes, degree = 2000, 6
    around = np.sort((np.arange(num_nodes)[:, None] + np.arange(1, degree + 1)) % num_nodes, axis=1)
    indptr = torch.arange(num_nodes + 1) * degree
    sample = Interpreted(indptr, torch.from_numpy(around.ravel()), [3], 5).sample(0, torch.arange(num_nodes))
    drawn = sample.nodes.numpy()[sample.hops[0].indices.numpy()].reshape(num_nodes, 3)
    offsets = np.sort((drawn - np.arange(num_nodes)[:, None] - 1) % num_nodes, axis=1)
    counts = Counter(map(tuple, offsets.tolist()))
    subsets = list(combinations(range(degree), 3))
    assert set(counts) == set(subsets)
    assert chisquare([counts[subset] for subset in subsets]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([3, 30], "seed nodes: 30 is not a node; allowed: 0 to 29"),
        ([-1], "seed nodes: -1 is not a node; allowed: 0 to 29"),
        ([4, 2, 4], "seed nodes: node 4 occurs more than once; allowed: each node once in a batch"),
        ([29, 30], "seed nodes: 30 is not a node; allowed: 0 to 29"),
        (list(range(30)) * 3, "seed nodes: node 0 occurs more than once; allowed: each node once in a batch"),
    ],
)
@pytest.mark.parametrize("fan_out", [[2, 2], [2, -1]])
def test_bad_seeds_leave_no_trace(seeds: list[int], told: str, fan_out: list[int]) -> None:
    of_graph = (*small_graph(), fan_out, 0)
    sampler, plain = Interpreted(*of_graph), NeighborSampler(*of_graph)
    for one in (sampler, plain):
        with pytest.raises(InputError) as caught:
            one.sample(0, torch.tensor(seeds))
        assert str(caught.value) == told
    assert equal(sampler.sample(0, SEEDS), plain.sample(0, SEEDS))


@pytest.mark.parametrize("value", [-1, 10**12])
@pytest.mark.parametrize("fan_out", [[3], [-1]])
def test_a_file_that_changed_under_the_sampler(value: int, fan_out: list[int]) -> None:
    indptr, indices = small_graph()
    sampler = Interpreted(indptr, indices, fan_out, 0)
    kept = int(indptr[20])
    indptr[20] = value
    for seeds in (torch.arange(30), torch.tensor([19]), torch.tensor([20])):
        with pytest.raises(InputError, match="indptr: leads out of indices; the files of the graph changed"):
            sampler.sample(0, seeds)
    indptr[20] = kept
    for source in (30, -1, 10**6):
        changed = indices.clone()
        changed[indptr[5]] = source
        with pytest.raises(InputError, match="indices: lead out of the nodes; the files of the graph changed"):
            Interpreted(indptr, changed, [-1], 0).sample(0, torch.arange(30))
    assert equal(sampler.sample(0, SEEDS), NeighborSampler(indptr, indices, fan_out, 0).sample(0, SEEDS))


class NoWaiting(TorchDispatchMode):
    """Refuses operations for whose result, or its shape, the host would wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("fan_out", "waits"), [([3], 1), ([3, 2, 2], 1), ([-1], 2), ([3, -1, 2, -1], 3)])
def test_the_host_waits_once_and_for_each_unbounded_hop(
    fan_out: list[int], waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: Callable[[device_sampling._Readback], list[int]] = device_sampling._Readback.values
    waited: list[int] = []

    def counted(readback: device_sampling._Readback) -> list[int]:
        waited.append(1)
        return values(readback)

    monkeypatch.setattr(device_sampling._Readback, "values", counted)
    sampler = DeviceSampler(*small_graph(), fan_out, 0, with_edges=True)
    with NoWaiting():
        queued = sampler.queue(0, SEEDS)
        assert len(waited) == waits - 1
        queued.sample()
    assert len(waited) == waits


def test_samples_can_be_queued_ahead() -> None:
    of_graph = (*small_graph(), [3, 2], 0, True)
    sampler, plain = DeviceSampler(*of_graph), NeighborSampler(*of_graph)
    queued = [sampler.queue(step, SEEDS) for step in range(4)]
    for one in reversed(queued):
        assert equal(one.sample(), plain.sample(one.step, SEEDS))


@pytest.mark.slow
def test_threads_share_a_sampler() -> None:
    of_graph = (*small_graph(), [3, -1], 0)
    sampler, plain = Interpreted(*of_graph), NeighborSampler(*of_graph)
    with ThreadPoolExecutor(3) as pool:
        drawn = list(pool.map(lambda step: sampler.sample(step, SEEDS), range(8)))
    assert all(equal(sample, plain.sample(step, SEEDS)) for step, sample in enumerate(drawn))


def test_a_pickled_sampler_has_kernels_again() -> None:
    sampler = Interpreted(*small_graph(), [3, 2], 0)
    copied = pickle.loads(pickle.dumps(sampler))
    assert isinstance(copied._on_device, DeviceSampler)
    assert equal(sampler.sample(1, SEEDS), copied.sample(1, SEEDS))


def test_the_loader_makes_the_same_batches() -> None:
    graph = random_graph(60, 400)
    plan = SeedPlan(graph.train, 7, seed=1)
    of_graph = (graph.indptr, graph.indices, [3, 2], 1)
    plain, kernels = (
        list(SeedLoader(graph_data(graph), plan, sampler(*of_graph), epochs=1).epoch(0))
        for sampler in (NeighborSampler, Interpreted)
    )
    assert len(plain) == len(kernels) == plan.steps_per_epoch
    for left, right in zip(plain, kernels, strict=True):
        assert torch.equal(left.n_id, right.n_id)
        assert torch.equal(left.edge_index, right.edge_index)
        assert torch.equal(left.x, right.x)
        assert left.num_sampled_edges == right.num_sampled_edges
