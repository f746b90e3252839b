"""Evaluation on hosts that share out the features: the bits of an evaluation with all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.processes import spawn
from tests.tasks.test_sharded import ranks_on, without_others
from tests.training.helpers import config, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import tiles, whole_graph
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.graphs.graph import Graph
from ugts_dist.tasks import build_model
from ugts_dist.tasks.sharded import shared_out

CASES: list[dict[str, Any]] = [
    {"model__arch": "gcn"},
    {"model__arch": "sage", "model__depth": 1, "batch__fan_out": [5]},
    {"model__arch": "gin", "model__norm": "pairnorm"},
    {"model__arch": "gin-paper"},
    {"model__arch": "gat"},
    {"model__arch": "sage", "model__width": 8},
]


def logits_of(graph: Graph, ranks: Ranks, chosen: Config) -> tuple[Tensor, list[int]]:
    """Logits of a rank's nodes, and the widths of the tables of all nodes that were made."""
    widths, empty = [], NodeTables.empty

    def noted(tables: NodeTables, width: int, *args: Any) -> Tensor:
        widths.append(width)
        return empty(tables, width, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeTables, "empty", noted)
        return Evaluator(graph, ranks).logits(build_model(chosen, graph)), widths


def same_logits(rank: int, hosts: list[str], memory: int, dtype: torch.dtype) -> list[list[int]]:
    """Compare with an evaluation that has all features. Returns the widths of the tables, by case."""
    tiles.room, whole_graph.CHUNK_ROWS = lambda ranks: memory, 20  # type: ignore[assignment]
    whole = planted_graph(num_nodes=301)
    whole = dataclasses.replace(whole, x=whole.x.to(dtype))
    found = []
    for case in CASES:
        chosen = config(batch__placement="sharded", **case)
        ranks = ranks_on(["a"] * len(hosts), rank)
        wanted, _ = logits_of(whole, ranks, chosen)
        graph, ranks = shared_out(without_others(whole, hosts, rank), chosen, ranks_on(hosts, rank))
        assert graph.share is not None
        logits, widths = logits_of(graph, ranks, chosen)
        assert torch.equal(logits, wanted), case
        found.append(widths)
    return found


def test_logits_have_the_bits_of_an_evaluation_with_all_features() -> None:
    """Tiles of some tens of rows; the ranks have unequal numbers of ranges of nodes."""
    for widths in spawn(3, same_logits, list("abc"), 30_000, torch.float32):
        assert all(16 not in each for each in widths), "no table of the features of all nodes"


def test_features_in_bfloat16_and_two_ranks_a_host() -> None:
    spawn(4, same_logits, list("aabb"), 60_000, torch.bfloat16)


def passes(rank: int) -> int:
    """The number of passes over the tiles that a rank takes part in."""
    tiles.room, whole_graph.CHUNK_ROWS = lambda ranks: 30_000, 20  # type: ignore[assignment]
    whole = planted_graph(num_nodes=301)
    indptr = whole.indptr
    start, stop = Ranks(rank, 3).share(301)
    return len(list(tiles.ranges(list(whole_graph.chunks(whole, start, stop)), indptr, 16, 30_000)))


def test_ranks_have_more_than_one_range() -> None:
    assert min(map(passes, range(3))) > 1
