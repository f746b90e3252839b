"""Noise changes exactly the stated part of a graph and nothing else; left-out classes reach no network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

from tests.training.helpers import config
from ugts_dist.analysis.subject import open_subject
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.configured import load_data, load_graph, load_open_graph
from ugts_dist.graphs.graph import Graph, from_edges, validate
from ugts_dist.graphs.perturb import edge_noise, feature_noise, left_out_classes
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.tasks import NodeTask
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict
from ugts_dist.training.run import run
from ugts_dist.training.trainer import make_trainer

from .helpers import random_graph
from .stores import ARRAYS

FRACTIONS = st.floats(0.0, 1.0)
SEEDS = st.integers(0, 2**63 - 1)
SIZES = st.integers(9, 60)


def pairs(graph: Graph) -> set[tuple[int, int]]:
    """Source and destination of every edge."""
    ends = torch.arange(graph.num_nodes).repeat_interleave(graph.indptr.diff())
    return set(zip(graph.indices.tolist(), ends.tolist(), strict=True))


def assert_same_but(changed: set[str], graph: Graph, other: Graph) -> None:
    for array in set(ARRAYS) - changed:
        assert torch.equal(getattr(graph, array), getattr(other, array)), array
    validate(other)


# Features


@given(size=SIZES, fraction=FRACTIONS, seed=SEEDS)
def test_feature_noise_changes_exactly_the_stated_part(size: int, fraction: float, seed: int) -> None:
    graph = random_graph(size, 3 * size)
    graph = replace(graph, x=graph.x + 2.0)  # unlike any noise
    noisy = feature_noise(graph, fraction, seed)
    assert_same_but({"x"}, graph, noisy)
    changed = (noisy.x != graph.x).any(1)
    assert int(changed.sum()) == round(fraction * (size - graph.train.numel()))
    assert not changed[graph.train].any()
    assert torch.equal(noisy.x[changed], (noisy.x[changed] == 1.0).float())


def test_noise_is_row_normalised_where_the_features_are() -> None:
    graph = random_graph(300, 900)
    graph = replace(graph, x=torch.rand(300, 200))
    data = NormalizeFeatures()(Data(x=graph.x.clone()))
    for x, total in ((graph.x, 100.0), (data.x, 1.0), (data.x.bfloat16(), 1.0)):
        noisy = feature_noise(replace(graph, x=x), 1.0, 0)
        assert noisy.x.dtype == x.dtype
        sums = noisy.x[100:].float().sum(1)
        assert float((sums / total).mean()) == pytest.approx(1.0, rel=0.02)


def test_coins_are_fair_and_independent() -> None:
    graph = replace(random_graph(3000, 3000), x=5.0 * torch.rand(3000, 130))
    tosses = feature_noise(graph, 1.0, 3).x[1000:]
    assert float(tosses.mean()) == pytest.approx(0.5, abs=0.005)
    # 2000 tosses each: a deviation of six standard errors in any of them would be no accident.
    limit = 6.0 * 0.5 / 2000**0.5
    assert float((tosses.mean(0) - 0.5).abs().max()) < limit
    correlation = torch.corrcoef(tosses.T) - torch.eye(130)
    assert float(correlation.abs().max()) < 6.0 / 2000**0.5
    assert not torch.equal(tosses, feature_noise(graph, 1.0, 4).x[1000:])


# Edges


@given(size=st.integers(20, 80), fraction=FRACTIONS, seed=SEEDS)
def test_edge_noise_moves_exactly_the_stated_part(size: int, fraction: float, seed: int) -> None:
    graph = random_graph(size, 2 * size)
    degree = torch.bincount(graph.indices, minlength=size)
    assume(2 * int(degree.max()) < size)  # so that there is room
    noisy = edge_noise(graph, fraction, seed)
    assert_same_but({"indptr", "indices"}, graph, noisy)
    assert noisy.indices.dtype == graph.indices.dtype
    assert noisy.num_edges == graph.num_edges
    assert len(pairs(graph) - pairs(noisy)) == round(fraction * graph.num_edges)
    # The sources are unchanged.
    assert torch.equal(torch.bincount(noisy.indices, minlength=size), degree)
    assert torch.equal(noisy.degree, noisy.indptr.diff())


def test_new_ends_are_drawn_from_all_nodes_alike() -> None:
    g = torch.Generator().manual_seed(0)
    thirds = (torch.arange(20), torch.arange(20, 40), torch.arange(40, 60))
    ends = torch.stack([torch.randint(0, 60, (90,), generator=g), torch.randint(0, 5, (90,), generator=g)])
    graph = from_edges("star", torch.rand(60, 2), ends, torch.arange(60) % 2, *thirds)
    moved = [pairs(edge_noise(graph, 0.5, seed)) - pairs(graph) for seed in range(300)]
    counts = torch.bincount(torch.tensor([end for new in moved for _, end in new]), minlength=60)[5:]
    # Six standard errors around the mean.
    mean = float(counts.float().mean())
    assert float((counts - mean).abs().max()) < 6.0 * mean**0.5


def test_a_graph_without_room_for_other_ends_is_refused() -> None:
    ends = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T
    thirds = (torch.arange(2), torch.arange(2, 4), torch.arange(4, 6))
    complete = from_edges("complete", torch.rand(6, 2), ends, torch.arange(6) % 2, *thirds)
    with pytest.raises(InputError, match=r"data\.edge_noise is 0\.5, but of the 5 edges of node"):
        edge_noise(complete, 0.5, 0)


def test_the_last_free_ends_are_found() -> None:
    ends = torch.cartesian_prod(torch.arange(12), torch.arange(12)).T
    ends = ends[:, (ends[0] + ends[1]) % 11 > 5]  # about half of all pairs
    thirds = (torch.arange(4), torch.arange(4, 8), torch.arange(8, 12))
    graph = from_edges("half", torch.rand(12, 2), ends, torch.arange(12) % 2, *thirds)
    noisy = edge_noise(graph, 0.6, 1)
    validate(noisy)
    assert len(pairs(graph) - pairs(noisy)) == round(0.6 * graph.num_edges)


# Classes


def classes_of(num_classes: int, seed: int) -> Graph:
    size = 12 * num_classes
    y = torch.arange(size) % num_classes
    y[::17] = -1
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed % 2**31))
    train, valid, test = (part[y[part] >= 0] for part in order.split([4 * num_classes] * 3))
    return from_edges(
        "classes", torch.rand(size, 3), torch.randint(0, size, (2, 50)), y, train, valid, test, num_classes
    )


@given(num_classes=st.integers(2, 30), fraction=FRACTIONS, seed=SEEDS)
def test_left_out_classes_leave_every_split(num_classes: int, fraction: float, seed: int) -> None:
    graph = classes_of(num_classes, seed)
    if not 1.0 <= fraction * num_classes < num_classes - 1:
        with pytest.raises(InputError, match=re.escape(f"data.left_out is {fraction}, ")):
            left_out_classes(graph, fraction, seed)
        return
    known, unknown = left_out_classes(graph, fraction, seed)
    assert_same_but({"y", "train", "valid", "test"}, graph, known)
    left_out = set(unknown.classes.tolist())
    assert abs(len(left_out) - fraction * num_classes) <= 1.0
    assert len(left_out) <= fraction * num_classes + 1e-6
    assert known.num_classes == num_classes - len(left_out)
    for split in ("train", "valid", "test"):
        before, after = getattr(graph, split).tolist(), getattr(known, split).tolist()
        assert after == [node for node in before if int(graph.y[node]) not in left_out]
    assert unknown.test.tolist() == [node for node in graph.test.tolist() if int(graph.y[node]) in left_out]
    # The classes that are left keep their order, and get the numbers from 0.
    number = {c: k for k, c in enumerate(c for c in range(num_classes) if c not in left_out)}
    assert known.y.tolist() == [number.get(c, -1) for c in graph.y.tolist()]


def test_a_part_of_the_classes_is_not_rounded_down_by_floating_point() -> None:
    graph = classes_of(100, 0)
    for fraction, count in ((0.29, 29), (0.4, 40), (0.57, 57), (0.999, None)):
        if count is None:
            with pytest.raises(InputError, match="keeps two or more"):
                left_out_classes(graph, fraction, 0)
        else:
            assert left_out_classes(graph, fraction, 0)[1].classes.numel() == count


def test_every_class_is_left_out_by_some_seed() -> None:
    graph = classes_of(7, 0)
    classes = torch.cat([left_out_classes(graph, 0.4, seed)[1].classes for seed in range(300)])
    counts = torch.bincount(classes, minlength=7)
    assert int(counts.sum()) == 600
    assert float((counts / (600 / 7) - 1.0).abs().max()) < 0.4


# All of them


@pytest.mark.parametrize("perturb", [feature_noise, edge_noise, lambda *args: left_out_classes(*args)[0]])
def test_a_mapped_graph_is_not_written_to(tmp_path: Path, perturb: Any) -> None:
    graph = random_graph(90, 400)
    write_store(graph, tmp_path / "store")
    mapped = open_store(tmp_path / "store")
    perturbed, wanted = perturb(mapped, 0.4, 5), perturb(graph, 0.4, 5)
    for array in ARRAYS:
        assert torch.equal(getattr(perturbed, array), getattr(wanted, array))
        # The checksum of an array is known exactly if it is the store's array.
        same = getattr(perturbed, array).data_ptr() == getattr(mapped, array).data_ptr()
        assert (array in perturbed.digests) <= same
    verify_store(tmp_path / "store")
    assert set(perturbed.digests) < set(mapped.digests)


def test_nothing_changes_without_noise() -> None:
    graph = random_graph(30, 90)
    assert_same_but(set(), graph, feature_noise(graph, 0.0, 1))
    assert_same_but(set(), graph, edge_noise(graph, 0.0, 1))


# Runs


def test_a_run_has_the_noise_of_its_configuration() -> None:
    plain = load_graph(config())
    graph, unknown = load_open_graph(
        config(data__left_out=0.4, data__feature_noise=0.2, data__edge_noise=0.1, run__seed=7)
    )
    assert unknown is not None
    assert unknown.classes.numel() == 4
    assert graph.num_classes == 6
    untrained = plain.num_nodes - graph.train.numel()
    assert int((graph.x != plain.x).any(1).sum()) == round(0.2 * untrained)
    assert len(pairs(plain) - pairs(graph)) == round(0.1 * plain.num_edges)
    other = load_graph(config(data__left_out=0.4, data__feature_noise=0.2, data__edge_noise=0.1, run__seed=8))
    assert not torch.equal(other.x, graph.x)
    assert not torch.equal(other.y, graph.y)


@pytest.mark.parametrize("field", ["feature_noise", "edge_noise", "left_out"])
def test_whole_graphs_have_no_noise(field: str) -> None:
    with pytest.raises(InputError, match=f"data.{field} is 0.4, allowed is 0 for ogbg-molbace"):
        load_data(Config().replace({"data.name": "ogbg-molbace", f"data.{field}": 0.4}))


@pytest.mark.parametrize("batch", [{}, {"batch__size": 0, "batch__fan_out": []}])
def test_left_out_classes_never_reach_the_loss(
    batch: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = load_graph(Config()).y
    settings = config(data__left_out=0.4, run__epochs=3, run__folder=str(tmp_path / "run"), **batch)
    _, unknown = load_open_graph(settings)
    assert unknown is not None
    seen: list[torch.Tensor] = []
    loss = NodeTask.loss

    def spied(task: NodeTask, logits: torch.Tensor, batch: Any) -> torch.Tensor:
        seeds = batch.nodes[batch.rows]
        assert logits.shape == (seeds.numel(), 6)
        seen.append(truth[seeds])
        return loss(task, logits, batch)

    monkeypatch.setattr(NodeTask, "loss", spied)
    result, _ = run(settings, Ranks())
    classes = set(torch.cat(seen).tolist())
    assert classes == set(range(10)) - set(unknown.classes.tolist())
    assert 0.3 < result.test <= 1.0


def test_logits_are_of_the_classes_that_are_left() -> None:
    settings = config(data__left_out=0.4)
    training = make_trainer(settings, NodeTask(load_graph(settings)), Ranks())
    batch = next(iter(training.batches.epoch(0)))
    assert training.method.model(batch.x, batch.blocks).shape[1] == 6


def test_another_graph_has_no_noise_of_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(config(data__left_out=0.4, data__feature_noise=0.5, run__epochs=2, run__folder=str(folder)), Ranks())
    own, other = tmp_path / "own.parquet", tmp_path / "other.parquet"
    predict(PredictOptions(str(folder), str(own)), Ranks())
    predict(PredictOptions(str(folder), str(other), graph="digits"), Ranks())
    subject = open_subject(folder, Ranks())
    for path, graph in ((own, subject.graph), (other, load_graph(config()))):
        logits = Evaluator(graph, Ranks()).logits(subject.model)
        assert parquet.read_table(path)["prediction"].to_pylist() == logits.argmax(1).tolist()
    assert own.read_bytes() != other.read_bytes()
