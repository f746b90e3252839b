"""Other packages' samplers, compared with a few lines of Python, brute force and our own sampler.

Tests of a package that is not installed are skipped; what cuts a kernel's edges into layers is also tested with the
Python kernel below, which needs nothing.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from tests.graphs.helpers import random_graph
from ugts_dist.errors import InputError
from ugts_dist.graphs.backends import KernelSampler, make_sampler
from ugts_dist.graphs.kernels import BACKENDS, Backend, Kernel
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sample import Sample, Sampler
from ugts_dist.graphs.sampling import NeighborSampler


def python_kernel(indptr: Tensor, indices: Tensor, seeds: Tensor, fan_out: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """PyG's rule: hop by hop, each node draws once, after it was met; new nodes are appended as they are met."""
    nodes, source, destination = seeds.tolist(), [], []
    place = {node: position for position, node in enumerate(nodes)}
    first = 0
    for fan in fan_out:
        frontier = range(first, len(nodes))
        first = len(nodes)
        for position in frontier:
            neighbours = indices[indptr[nodes[position]] : indptr[nodes[position] + 1]]
            if 0 <= fan < len(neighbours):
                neighbours = neighbours[torch.randperm(len(neighbours))[:fan]]
            for node in neighbours.tolist():
                if node not in place:
                    place[node] = len(nodes)
                    nodes.append(node)
                source.append(place[node])
                destination.append(position)
    return torch.tensor(nodes), torch.tensor(source).long(), torch.tensor(destination).long()


@pytest.fixture(params=["python", *BACKENDS])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Each kernel that can be used here."""
    if request.param == "python":
        return python_kernel
    skip_where_missing(request.param)
    return BACKENDS[request.param].kernel


def skip_where_missing(name: str) -> None:
    problem = BACKENDS[name].problem()
    if problem == f"{name} is not installed":
        pytest.skip(problem)
    assert not problem, problem


def neighbours(sample: Sample, hop: int) -> dict[int, list[int]]:
    """Node -> the neighbours that it drew, as ids, in one layer's block."""
    block, ids = sample.hops[hop], sample.nodes.tolist()
    bounds = block.indptr.tolist()
    return {
        ids[position]: [ids[source] for source in block.indices[begin:end].tolist()]
        for position, (begin, end) in enumerate(itertools.pairwise(bounds))
    }


# The blocks of the layers


@given(st.integers(0, 2**32), st.lists(st.sampled_from([-1, 1, 2, 5]), min_size=1, max_size=3), st.integers(0, 6))
def test_every_node_draws_as_many_different_neighbours_as_it_should(seed: int, fan_out: list[int], seeds: int) -> None:
    graph = random_graph(24, 150, seed)
    chosen = torch.randperm(24, generator=torch.Generator().manual_seed(seed))[:seeds]
    check_blocks(KernelSampler(python_kernel, graph.indptr, graph.indices, fan_out, seed), chosen)


@pytest.mark.parametrize("fan_out", [[2], [-1, 1], [5, 2, 3], [1, -1, 2]])
def test_a_kernel_keeps_pygs_rule(kernel: Kernel, fan_out: list[int]) -> None:
    graph = random_graph(200, 3000)
    sampler = KernelSampler(kernel, graph.indptr, graph.indices, fan_out, seed=3)
    for step in range(5):
        check_blocks(sampler, torch.randperm(200, generator=torch.Generator().manual_seed(step))[:20], step)


def check_blocks(sampler: KernelSampler, seeds: Tensor, step: int = 0) -> None:
    sample = sampler.sample(step, seeds)
    assert sample.step == step
    assert sample.num_seeds == seeds.numel()
    assert torch.equal(sample.nodes[: seeds.numel()], seeds)
    assert sample.nodes.unique().numel() == sample.nodes.numel()
    hop_of = dict.fromkeys(seeds.tolist(), 0)  # at which a node draws
    met = seeds.numel()
    for hop, block in enumerate(sample.hops):
        assert block.num_dst == met
        assert met <= block.num_src <= sample.nodes.numel()
        met = block.num_src
        drawn = neighbours(sample, hop)
        for node, others in drawn.items():
            all_of_them = sampler.indices[sampler.indptr[node] : sampler.indptr[node + 1]].tolist()
            fan = sampler.fan_out[hop_of[node]]
            assert len(others) == len(set(others)) == (len(all_of_them) if fan == -1 else min(fan, len(all_of_them)))
            assert set(others) <= set(all_of_them)
        sources = {node for others in drawn.values() for node in others}
        assert set(sample.nodes[:met].tolist()) == sources | set(sample.nodes[: block.num_dst].tolist())
        for node in sample.nodes[block.num_dst : met].tolist():
            hop_of[node] = hop + 1
        if hop:  # what a node drew once is found again in the later blocks
            earlier = neighbours(sample, hop - 1)
            assert earlier == {node: drawn[node] for node in earlier}
    assert met == sample.nodes.numel()


def test_with_all_neighbours_the_blocks_are_those_of_our_sampler(kernel: Kernel) -> None:
    graph = random_graph(100, 500)
    seeds, fan_out = torch.tensor([99, 0, 50]), [-1, -1, -1]
    theirs = KernelSampler(kernel, graph.indptr, graph.indices, fan_out, seed=0).sample(0, seeds)
    ours = NeighborSampler(graph.indptr, graph.indices, fan_out, seed=0).sample(0, seeds)
    for hop, block in enumerate(ours.hops):
        assert (theirs.hops[hop].num_dst, theirs.hops[hop].num_src) == (block.num_dst, block.num_src)
        expected = {node: sorted(others) for node, others in neighbours(ours, hop).items()}
        assert {node: sorted(others) for node, others in neighbours(theirs, hop).items()} == expected
        assert theirs.hops[hop].indices.dtype == block.indices.dtype
        assert theirs.hops[hop].indptr.dtype == block.indptr.dtype


def test_the_loader_takes_them(kernel: Kernel) -> None:
    graph = random_graph(200, 3000)
    sampler = KernelSampler(kernel, graph.indptr, graph.indices, [3, 2], seed=0)
    plan = SeedPlan(graph.train, 20, seed=0)
    batches = list(SeedLoader(graph_data(graph), plan, sampler, epochs=1).epoch(0))
    assert sorted(node for batch in batches for node in batch.n_id[: batch.batch_size].tolist()) == graph.train.tolist()
    for batch in batches:
        sample = sampler.sample(batch.step, plan.seeds(batch.step))
        assert torch.equal(batch.n_id, sample.nodes)
        assert torch.equal(batch.x, graph.x[sample.nodes])


# Where the draws come from


def test_a_step_can_be_repeated_and_leaves_torchs_generator_as_it_was(kernel: Kernel) -> None:
    graph = random_graph(200, 5000)
    seeds = torch.arange(30)

    def draw(run_seed: int, step: int, nodes: Tensor = seeds) -> list[int]:
        sampler = KernelSampler(kernel, graph.indptr, graph.indices, [3, 2], run_seed)
        return sampler.sample(step, nodes).nodes.tolist()

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = draw(1, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert draw(1, 7) == first
    assert draw(1, 8) != first
    assert draw(2, 7) != first


# Distribution


def samplers() -> list[str]:
    return ["ours", "python", *BACKENDS]


def sampler_of(name: str, indptr: Tensor, indices: Tensor, fan_out: list[int]) -> Sampler:
    if name == "ours":
        return NeighborSampler(indptr, indices, fan_out, seed=0)
    if name == "python":
        return KernelSampler(python_kernel, indptr, indices, fan_out, seed=0)
    skip_where_missing(name)
    return make_sampler(name, indptr, indices, fan_out, seed=0)


def probabilities(name: str, degree: int, fan: int) -> dict[tuple[int, ...], float]:
    """The probability of each set of positions, from all draws of Floyd's algorithm.

    Draw j should be one of the positions 0 to j, so that all sets are equally likely. torch-sparse up to 0.6.18
    leaves j out: `uniform_randint(j)` excludes its end.
    """
    ends = 0 if name == "torch-sparse" and installed_up_to("torch-sparse", (0, 6, 18)) else 1
    sets: dict[frozenset[int], float] = {frozenset(): 1.0}
    for j in range(degree - fan, degree):
        after: dict[frozenset[int], float] = defaultdict(float)
        for chosen, probability in sets.items():
            for position in range(j + ends):
                after[chosen | {j if position in chosen else position}] += probability / (j + ends)
        sets = after
    return {tuple(sorted(chosen)): probability for chosen, probability in sets.items()}


def installed_up_to(package: str, version: tuple[int, ...]) -> bool:
    return tuple(int(part) for part in importlib.metadata.version(package).split("+")[0].split(".")) <= version


def check_law(counts: Mapping[Any, int], law: Mapping[Any, float]) -> None:
    """Chi-square at a strict level; nothing impossible was drawn."""
    assert set(counts) <= set(law)
    total = sum(counts.values())
    observed, expected = zip(*((counts.get(key, 0), total * law[key]) for key in law), strict=True)
    if len(law) > 1:
        assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_floyds_algorithm_makes_every_set_as_likely() -> None:
    law = probabilities("ours", 6, 3)
    assert len(law) == 20
    assert list(law.values()) == pytest.approx([1 / 20] * 20)


@pytest.mark.parametrize("name", samplers())
@pytest.mark.parametrize(("degree", "fan"), [(2, 1), (6, 3), (5, 4), (30, 1)])
def test_every_set_of_neighbours_is_as_likely_as_it_should_be(name: str, degree: int, fan: int) -> None:
    """The neighbours 1, 2, ... of node 0, over many steps."""
    indptr = torch.tensor([0] + [degree] * (degree + 1))
    sampler = sampler_of(name, indptr, torch.arange(1, degree + 1), [fan])
    law = probabilities(name, degree, fan)
    counts: Counter[tuple[int, ...]] = Counter()
    for step in range(40 * math.comb(degree, fan)):
        counts[tuple(sorted((sampler.sample(step, torch.tensor([0])).nodes[1:] - 1).tolist()))] += 1
    check_law(counts, law)


@pytest.mark.parametrize("name", samplers())
def test_neighbours_of_different_nodes_are_drawn_independently(name: str) -> None:
    """Two nodes with four neighbours each, of which they draw one."""
    sampler = sampler_of(name, torch.tensor([0, 4, 8, 8, 8, 8, 8]), torch.tensor([2, 3, 4, 5, 2, 3, 4, 5]), [1])
    one = {place + 2: probability for (place,), probability in probabilities(name, 4, 1).items()}
    law = {(a, b): one[a] * one[b] for a, b in itertools.product(one, repeat=2)}
    counts: Counter[tuple[int, int]] = Counter()
    for step in range(1000):
        drawn = neighbours(sampler.sample(step, torch.tensor([0, 1])), 0)
        counts[drawn[0][0], drawn[1][0]] += 1
    check_law(counts, law)


@pytest.mark.parametrize("name", samplers())
def test_nodes_of_a_graph_are_met_as_often_as_they_should_be(name: str) -> None:
    """Around fixed seeds, compared with the computed probability; every step has the same number of edges."""
    graph = random_graph(60, 500)
    seeds, fan, steps = torch.tensor([9, 17, 25]), 3, 1000
    sampler = sampler_of(name, graph.indptr, graph.indices, [fan])
    met, missed = torch.zeros(60), torch.ones(60, dtype=torch.float64)
    for seed in seeds.tolist():
        others = graph.indices[graph.indptr[seed] : graph.indptr[seed + 1]].tolist()
        chosen = torch.zeros(60, dtype=torch.float64)
        for places, probability in probabilities(name, len(others), min(fan, len(others))).items():
            chosen[[others[place] for place in places]] += probability
        missed *= 1 - chosen
    missed[seeds] = 0.0
    for step in range(steps):
        sample = sampler.sample(step, seeds)
        assert sample.hops[0].indices.numel() == int(graph.degree[seeds].clamp(max=fan).sum())
        met[sample.nodes] += 1
    deviation = (met - steps * (1 - missed)).abs()
    # A step meets a node or does not: a binomial count, and 60 of them at five standard deviations.
    assert bool((deviation <= 5 * (steps * missed * (1 - missed)).clamp(min=0).sqrt() + 1e-6).all())


# Mistakes


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([0, 24], "seed nodes: 24 is not a node; allowed: 0 to 23"),
        ([-1], "seed nodes: -1 is not a node"),
        ([3, 5, 3], "seed nodes: node 3 occurs more than once"),
        ([[1]], "seed nodes: shape"),
    ],
)
def test_wrong_seeds_never_reach_a_kernel(seeds: list[int], message: str) -> None:
    graph = random_graph(24, 150)
    sampler = KernelSampler(python_kernel, graph.indptr, graph.indices, [2], seed=0)
    with pytest.raises(InputError, match=message):
        sampler.sample(0, torch.tensor(seeds))


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch\.backend is dgl, allowed are pyg-lib, torch-sparse"):
        make_sampler("dgl", torch.tensor([0, 0]), torch.tensor([]), [1], 0)


def test_a_package_that_is_missing_or_broken_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package in {"missing": "no-such-package", "broken": "torch"}.items():
        monkeypatch.setitem(BACKENDS, name, Backend(package, "no_such_module", python_kernel))
    arguments = (torch.tensor([0, 0]), torch.tensor([]), [1], 0)
    with pytest.raises(InputError, match=r"^batch.backend is missing, but no-such-package is not installed; allowed"):
        make_sampler("missing", *arguments)
    with pytest.raises(InputError, match=r"does not load: ModuleNotFoundError: No module named 'no_such_module'; all"):
        make_sampler("broken", *arguments)


def test_a_kernel_that_returns_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nonsense = Backend("torch", "torch", lambda *_: (torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([0])))
    monkeypatch.setitem(BACKENDS, "nonsense", nonsense)
    assert "torch" in sys.modules
    with pytest.raises(InputError, match="samples an edge that is not in the graph"):
        make_sampler("nonsense", torch.tensor([0, 0]), torch.tensor([]), [1], 0)


def test_a_graph_elsewhere_than_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "python", Backend("torch", "torch", python_kernel))
    with pytest.raises(InputError, match="which samples on the CPU; the graph is on meta"):
        make_sampler("python", torch.tensor([0, 0], device="meta"), torch.tensor([], device="meta"), [1], 0)
