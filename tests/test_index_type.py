"""The index type at its limit: real sizes if only counts matter, otherwise a lowered limit or no memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.graphs import block_of, dense, random_edges
from tests.training.helpers import config, planted_graph
from ugts_dist import index_type as module
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.whole_graph import block_of_rows
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.index_type import index_type, numpy_index_type
from ugts_dist.models import Block, SparseFeatures
from ugts_dist.tasks import build_model, make_task
from ugts_dist.training.trainer import make_trainer


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten is the largest number of an int32."""
    monkeypatch.setattr(module, "INT32_MAX", 10)


def test_the_smallest_type_that_holds_all_counts() -> None:
    assert index_type(3, 2**31 - 1) == torch.int32
    assert index_type(3, 2**31) == torch.int64
    assert index_type(2**40, 3) == torch.int64
    assert numpy_index_type(2**31 - 1) == np.dtype(np.int32)
    assert numpy_index_type(2**31) == np.dtype(np.int64)


@pytest.mark.parametrize("num_edges", [2**31 - 1 - 4, 2**31 - 4])
def test_self_loops_may_need_a_wider_type_than_the_edges(num_edges: int) -> None:
    """Four nodes; tensors without memory."""
    with torch.device("meta"):
        block = Block(torch.zeros(5).int(), torch.empty(num_edges, dtype=torch.int32), torch.zeros(4).long())
        pattern, _ = block.looped
    assert pattern.indices.numel() == num_edges + 4
    wanted = torch.int32 if num_edges + 4 < 2**31 else torch.int64
    assert (pattern.indptr.dtype, pattern.indices.dtype) == (wanted, wanted)


@pytest.mark.usefixtures("low_limit")
def test_self_loops_past_the_limit_stay_right() -> None:
    edges = random_edges(7, 10)
    block = block_of(edges, 7)
    assert block.indptr.dtype == torch.int32
    expected = torch.eye(7).index_put((edges[1], edges[0]), torch.ones(()))
    pattern, _ = block.looped
    assert pattern.indices.dtype == torch.int64
    assert torch.equal(dense(torch.ones(pattern.indices.numel()), pattern.indptr, pattern.indices, 7), expected)


def sample(fan_out: list[int]) -> list[tuple[Tensor, Tensor]]:
    graph = planted_graph()
    out = NeighborSampler(graph.indptr, graph.indices, fan_out, seed=1).sample(3, graph.train[:40])
    return [(hop.indptr, hop.indices) for hop in out.hops]


def test_a_sample_past_the_limit_has_one_type_and_the_same_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    fan_out = [2, 90]
    narrow = sample(fan_out)
    monkeypatch.setattr(module, "INT32_MAX", 310)  # the graph's 300 nodes fit, the second hop's edges do not
    wide = sample(fan_out)
    assert [indptr.dtype for indptr, _ in wide] == [torch.int32, torch.int64]
    for (indptr, indices), (expected_indptr, expected_indices) in zip(wide, narrow, strict=True):
        assert indptr.dtype == indices.dtype
        assert torch.equal(indptr.long(), expected_indptr.long())
        assert torch.equal(indices.long(), expected_indices.long())


@pytest.mark.usefixtures("low_limit")
def test_sparse_features_past_the_limit() -> None:
    x = torch.eye(12)
    features = SparseFeatures.of(x)
    assert (features.pattern.indptr.dtype, features.pattern.indices.dtype) == (torch.int64, torch.int64)
    chosen = features.select(torch.tensor([3, 3, 11])).pattern
    assert chosen.indptr.dtype == chosen.indices.dtype


def test_blocks_of_a_graph_past_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    narrow = block_of_rows(graph, graph.degree, 0, 300)
    monkeypatch.setattr(module, "INT32_MAX", graph.num_edges - 1)
    wide = block_of_rows(graph, graph.degree, 0, 300)
    assert (narrow.indptr.dtype, narrow.indices.dtype) == (torch.int32, torch.int32)
    assert (wide.indptr.dtype, wide.indices.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize("arch", ["gcn", "gin", "gin-paper", "gat", "sage"])
def test_training_and_evaluation_past_the_limit_give_the_same_bits(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, settings = planted_graph(), config(model__arch=arch, run__epochs=1)
    logits = []
    for limit in (module.INT32_MAX, 10, 310):
        monkeypatch.setattr(module, "INT32_MAX", limit)
        training = make_trainer(settings, make_task(graph, settings), Ranks())
        training.epoch(0, 0.5, 0.01)
        trained = torch.cat([score.detach().flatten() for score in training.method.trained().values()])
        logits.append((trained, Evaluator(graph, Ranks()).logits(build_model(settings, graph))))
    for trained, evaluated in logits[1:]:
        assert torch.equal(trained, logits[0][0])
        assert torch.equal(evaluated, logits[0][1])
