"""Batches and evaluations read one copy of the features, and ranks share sparse ones. The numbers stay the same."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.ranks import Ranks, ranks_of_group
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.feature_tables import FeatureTables, shared_by_machine
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import SparseFeatures
from ugts_dist.tasks import NodeTask, build_model
from ugts_dist.tasks.batches import make_batches
from ugts_dist.tasks.own import evaluator_on
from ugts_dist.tasks.placement import evaluation_device, placed

META, GPU = torch.device("meta"), torch.device("cuda")


def sparse_graph() -> Graph:
    """The planted graph with one feature in sixteen."""
    graph = planted_graph()
    x = torch.zeros_like(graph.x)
    x[torch.arange(graph.num_nodes), graph.y * 4 + torch.arange(graph.num_nodes) % 4] = 1.0
    return dataclasses.replace(graph, x=x)


def places(table: Any) -> set[int]:
    """Where the numbers of a table begin in memory."""
    if isinstance(table, Tensor):
        return {table.data_ptr()}
    return {part.data_ptr() for part in (table.values, table.pattern.indptr, table.pattern.indices)}


@pytest.mark.parametrize("graph", [planted_graph(), sparse_graph()], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["sampled", "full"])
def test_batches_and_evaluator_of_a_task_read_one_copy(graph: Graph, kind: str) -> None:
    settings = config() if kind == "sampled" else config(batch__size=0, batch__fan_out=[], model__norm="pairnorm")
    task, ranks = NodeTask(graph), Ranks()
    batches: Any = task.batches(settings, ranks)
    evaluator: Any = task.evaluator(settings, ranks)
    read = batches._inputs._features if kind == "sampled" else batches._batch.x
    assert places(read) == places(evaluator._x)
    assert isinstance(read, SparseFeatures) == (float((graph.x != 0).float().mean()) < 0.1)
    if isinstance(read, Tensor):
        assert places(read) == places(graph.x)


@pytest.mark.parametrize("graph", [planted_graph(), sparse_graph()], ids=["dense", "sparse"])
def test_a_copy_on_a_device_lives_as_long_as_it_is_read(graph: Graph) -> None:
    tables = FeatureTables(graph)
    assert not tables.holds(META)
    first = tables.on(META, Ranks())
    assert tables.on(META, Ranks()) is first
    assert tables.holds(META)
    del first
    gc.collect()
    assert not tables.holds(META)


def test_types_have_copies_of_their_own() -> None:
    tables = FeatureTables(planted_graph())
    whole, halved = tables.dense(META), tables.dense(META, torch.bfloat16)
    assert (whole.dtype, halved.dtype) == (torch.float32, torch.bfloat16)
    assert tables.dense(META, torch.bfloat16) is halved
    assert tables.dense(META) is whole


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A GPU that is a part of the host's memory. Returns the sizes of all copies to it."""
    sizes, original = list[int](), Tensor.to

    def to(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        if args and args[0] == GPU:
            sizes.append(tensor.numel())
            return original(tensor.clone(), *args[1:], **options) if args[1:] else tensor.clone()
        return original(tensor, *args, **options)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 40, 1 << 40))
    return sizes


def test_features_are_placed_once_on_a_gpu(made_up: list[int]) -> None:
    graph, settings = planted_graph(), config()
    ranks, tables = Ranks(device=GPU), FeatureTables(graph)
    on_gpu = placed(graph, settings, ranks, tables)
    evaluator: Any = evaluator_on(GPU, graph, settings, ranks, features=tables)
    assert places(on_gpu.x) == places(evaluator._x) == places(evaluator._graph.x)
    assert places(on_gpu.x) != places(graph.x)
    assert made_up.count(graph.x.numel()) == 1
    assert torch.equal(on_gpu.x, graph.x)


def test_sparse_features_have_no_dense_copy_on_a_gpu(made_up: list[int]) -> None:
    graph, settings = sparse_graph(), config()
    ranks, tables = Ranks(device=GPU), FeatureTables(graph)
    on_gpu = placed(graph, settings, ranks, tables)
    evaluator: Any = evaluator_on(GPU, graph, settings, ranks, features=tables)
    assert places(on_gpu.x) == places(graph.x)
    assert places(evaluator._x) == places(tables.on(GPU, ranks))
    assert graph.x.numel() not in made_up


def test_features_that_are_on_the_gpu_need_no_room_there(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, settings, ranks = planted_graph(), config(), Ranks(device=META)
    tables, size = FeatureTables(graph), 4 * graph.x.numel()
    outputs = 4 * 2 * graph.num_nodes * settings.model.width
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (outputs + size // 2, 1 << 40))
    ranks = Ranks(device=GPU)
    assert evaluation_device(graph, settings, ranks, tables).type == "cpu"
    monkeypatch.setattr(FeatureTables, "holds", lambda *_: True)
    assert evaluation_device(graph, settings, ranks, tables) == GPU


def shared_rank(rank: int, world_size: int, kind: str) -> tuple[bool, float, Tensor, list[Tensor]]:
    """Whether the features are right, what rank 1 reads where rank 0 writes, logits of all nodes, and first inputs."""
    graph, settings = sparse_graph(), config(model__arch="gcn")
    everyone = ranks_of_group(torch.device("cpu"))
    ranks = everyone if kind == "one machine" else dataclasses.replace(everyone, machine=f"machine {rank}")
    own, table = SparseFeatures.of(graph.x), shared_by_machine(graph.x, ranks)
    right = all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in (
            (own.values, table.values),
            (own.pattern.indptr, table.pattern.indptr),
            (own.pattern.indices, table.pattern.indices),
        )
    )
    dist.barrier()
    if rank == 0:
        table.values[0] = 7.0
    dist.barrier()
    seen = float(table.values[0])
    task = NodeTask(graph)
    batches, evaluator = task.batches(settings, everyone), task.evaluator(settings, everyone)
    model: Any = build_model(settings, graph)
    logits = evaluator.embeddings(model).clone() if isinstance(evaluator, Evaluator) else torch.empty(0)
    inputs = [dense(batch.x) for batch in batches.epoch(0)]
    return right, seen, logits, inputs


def dense(x: Any) -> Tensor:
    rows, columns = x.shape
    matrix = torch.sparse_csr_tensor(x.pattern.indptr, x.pattern.indices, x.values, (rows, columns))
    return matrix.to_dense()


@pytest.mark.parametrize("kind", ["one machine", "two machines"])
def test_ranks_of_a_machine_share_sparse_features(kind: str) -> None:
    """What one rank writes, the other reads, if they are on one machine. Results are those of private copies."""
    graph, settings = sparse_graph(), config(model__arch="gcn")
    results = spawn(2, shared_rank, 2, kind)
    assert [right for right, *_ in results] == [True, True]
    assert [seen for _, seen, *_ in results] == ([7.0, 7.0] if kind == "one machine" else [7.0, 1.0])
    model: Any = build_model(settings, graph)
    expected = Evaluator(graph, Ranks()).embeddings(model)
    for rank, (*_, logits, inputs) in enumerate(results):
        assert torch.equal(logits, expected)
        private: Any = make_batches(graph, settings, Ranks(rank, 2))
        for one, batch in zip(inputs, private.epoch(0), strict=True):
            assert torch.equal(one, graph.x[batch.nodes])


def empty_rank(rank: int, world_size: int) -> tuple[int, int, int]:
    table = shared_by_machine(torch.zeros(5, 3), ranks_of_group(torch.device("cpu")))
    return table.values.numel(), table.pattern.indptr.numel(), int(table.pattern.indptr.sum())


def test_features_that_are_all_zero_are_shared() -> None:
    assert spawn(2, empty_rank, 2) == [(0, 6, 0)] * 2


@pytest.mark.gpu
@pytest.mark.parametrize("graph", [planted_graph(), sparse_graph()], ids=["dense", "sparse"])
def test_one_copy_on_a_gpu(graph: Graph) -> None:
    task, ranks = NodeTask(graph), Ranks(device=GPU)
    batches: Any = task.batches(config(), ranks)
    evaluator: Any = task.evaluator(config(), ranks)
    assert places(batches._inputs._features) == places(evaluator._x)
