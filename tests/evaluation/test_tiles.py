"""Evaluation of graphs whose tables are larger than the memory: the bits of an evaluation with enough memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.test_edge_weights import weighted_graph
from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import tiles, whole_graph
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.first_layer import aggregate_features
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import from_edges
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.models import Rows, aggregate, edges_of
from ugts_dist.tasks import build_model

ARCHITECTURES = ("gcn", "sage", "gin", "gin-paper")


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is too large, chunks have 20 nodes, ranges some of them, tiles some tens of rows."""
    monkeypatch.setattr(tiles, "is_too_large", lambda table: True)
    monkeypatch.setattr(tiles, "room", lambda ranks: 60_000)
    monkeypatch.setattr(whole_graph, "CHUNK_ROWS", 20)


@settings(max_examples=80, deadline=None)
@given(
    num_nodes=st.integers(2, 60),
    num_edges=st.integers(0, 400),
    width=st.integers(1, 20),
    arch=st.sampled_from(ARCHITECTURES),
    rows_of_tile=st.integers(1, 70),
    half=st.booleans(),
    seed=st.integers(0, 999),
)
def test_sums_have_the_bits_of_one_pass(
    num_nodes: int, num_edges: int, width: int, arch: str, rows_of_tile: int, half: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    nothing = torch.empty(0, dtype=torch.int64)
    x = torch.randn(num_nodes, width, generator=g)
    x = x.bfloat16().float() if half else x
    edges = torch.randint(0, num_nodes, (2, num_edges), generator=g)
    graph = from_edges("g", x, edges, torch.zeros(num_nodes).long(), nothing, nothing, nothing, 1)
    start, stop = num_nodes // 4, num_nodes - num_nodes // 5
    between = (start + stop) // 2
    one, first, second = (
        graph_block(graph, torch.device("cpu"), *part) for part in ((start, stop), (start, between), (between, stop))
    )
    wanted = aggregate(*edges_of(arch, one), Rows(x, torch.arange(num_nodes)))
    got = tiles.tiled_sums(arch, [first, second], x.bfloat16() if half else x, 32 * width * rows_of_tile)
    assert torch.equal(got, wanted)


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("changes", [{}, {"model__norm": "pairnorm"}, {"model__width": 8, "model__depth": 3}], ids=str)
def test_logits_have_the_bits_of_an_evaluation_in_memory(
    arch: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = planted_graph(num_nodes=301)
    depth = changes.get("model__depth", 2)
    model = build_model(config(model__arch=arch, batch__fan_out=[5] * depth, **changes), graph)
    logits = Evaluator(graph, Ranks()).logits(model)
    monkeypatch.setattr(tiles, "is_too_large", lambda table: False)
    assert torch.equal(logits, Evaluator(graph, Ranks()).logits(model))


@pytest.mark.usefixtures("tight")
def test_edge_weights_count(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = weighted_graph()
    model = build_model(config(model__arch="gcn"), graph)
    logits = Evaluator(graph, Ranks()).logits(model)
    monkeypatch.setattr(tiles, "is_too_large", lambda table: False)
    assert torch.equal(logits, Evaluator(graph, Ranks()).logits(model))


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_exact_first_layer_has_the_same_bits(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    table = aggregate_features(graph, arch, Ranks())
    monkeypatch.setattr(tiles, "is_too_large", lambda table: False)
    wanted = aggregate_features(graph, arch, Ranks())
    assert isinstance(table, torch.Tensor)
    assert isinstance(wanted, torch.Tensor)
    assert torch.equal(table, wanted)


def test_ranges_are_bounded() -> None:
    chunks = [(0, 10), (10, 20), (20, 30), (30, 40)]
    indptr = torch.arange(41) * 2
    one = 10 * (4 * 16 + tiles._ROW_BYTES) + 20 * tiles._ENTRY_BYTES
    assert list(tiles.ranges(chunks, indptr, 16, int(2 * one / tiles._RANGE) + 1)) == [chunks[:2], chunks[2:]]
    assert list(tiles.ranges(chunks, indptr, 16, 1)) == [[chunk] for chunk in chunks]
    assert list(tiles.ranges([], indptr, 16, 1)) == []


def test_only_tables_on_a_disk_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(planted_graph(), tmp_path / "store")
    graph = open_store(tmp_path / "store")
    assert not tiles.is_too_large(graph.x), "memory suffices"
    monkeypatch.setattr(tiles, "available_memory", lambda: graph.x.nbytes - 1)
    assert tiles.is_too_large(graph.x)
    assert not tiles.is_too_large(graph.x.clone())
    shared = torch.from_numpy(np.memmap("/dev/shm/ugts-test-tiles", np.float32, "w+", shape=(5000, 16)))
    Path("/dev/shm/ugts-test-tiles").unlink()
    assert not tiles.is_too_large(shared), "in shared memory"
    unnamed = torch.from_numpy(np.memmap(tmp_path / "x", np.float32, "w+", shape=(5000, 16)))
    (tmp_path / "x").unlink()
    assert tiles.is_too_large(unnamed)
    monkeypatch.setattr(tiles, "available_memory", lambda: 2 * unnamed.nbytes)
    assert not tiles.is_too_large(unnamed)
