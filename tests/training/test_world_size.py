"""A run on 1, 2 and 4 ranks with one global batch size is the same run."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, equal_share, fit_rank, planted_graph
from ugts_dist.checkpointing import checkpoint
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sample import Sample
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import SparseFeatures
from ugts_dist.tasks import build_model
from ugts_dist.tasks.batches import make_batches
from ugts_dist.tasks.blocks import hop_blocks
from ugts_dist.training.fit import fit

Edges = set[tuple[int, int, int, int]]


def sampled_edges(rank: int, world_size: int) -> Edges:
    """(step, hop, source, destination) of every sampled edge of one epoch on one rank, in the graph's numbers."""
    graph = planted_graph()
    plan = SeedPlan(graph.train, 40, 7, rank, world_size)
    loader = SeedLoader(graph_data(graph), plan, NeighborSampler(graph.indptr, graph.indices, [5, 5], 7), epochs=1)
    edges: Edges = set()
    for step, data in enumerate(loader.epoch(0)):
        bounds = [0, *torch.tensor(data.num_sampled_edges).cumsum(0).tolist()]
        for hop in range(2):
            ends = data.n_id[data.edge_index[:, bounds[hop] : bounds[hop + 1]]]
            edges |= {(step, hop, int(a), int(b)) for a, b in ends.t()}
    return edges


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_see_the_subgraphs_of_one(world_size: int) -> None:
    together: Edges = set().union(*(sampled_edges(rank, world_size) for rank in range(world_size)))
    assert together == sampled_edges(0, 1)


@pytest.mark.parametrize("arch", ["gcn", "gin", "gat", "sage"])
def test_a_seed_nodes_output_does_not_depend_on_the_other_seeds(arch: str) -> None:
    settings = config(model__arch=arch)
    graph = planted_graph()
    model = build_model(settings, graph).eval()
    whole = next(make_batches(graph, settings, Ranks()).epoch(0))
    expected = model(whole.x, whole.blocks)[whole.rows]
    parts = []
    for rank in range(4):
        batch = next(make_batches(graph, settings, Ranks(rank, 4)).epoch(0))
        parts.append(model(batch.x, batch.blocks)[batch.rows])
    torch.testing.assert_close(torch.cat(parts), expected)


@pytest.mark.parametrize(
    "settings",
    [config(), config(batch__size=0, batch__fan_out=[]), config(supermask__method="edge-popup")],
    ids=["mini-batch", "full-batch", "layer-scope"],
)
def test_masks_agree_for_every_world_size(settings: Config, tmp_path: Path) -> None:
    """For some epochs: another order of sums takes a score across the threshold in the end, and the runs differ."""
    settings = settings.replace({"run.epochs": 5})
    (tmp_path / "1").mkdir()
    fit(settings, planted_graph(), Ranks(), tmp_path / "1")
    losses, masks = losses_and_masks(tmp_path / "1")
    for world_size in (2, 4):
        folder = tmp_path / str(world_size)
        folder.mkdir()
        results = spawn(world_size, fit_rank, world_size, settings, str(folder))
        assert len({(result.epoch, result.valid, result.test, result.sparsity) for result, _ in results}) == 1
        losses_of_all, masks_of_all = losses_and_masks(folder)
        assert losses_of_all == pytest.approx(losses, rel=1e-4)
        assert equal_share(masks_of_all, masks) >= 0.999


def losses_and_masks(folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    """Of each epoch; and by sorting the scores of each layer after the last one, with nine tenths masked."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    scores = checkpoint.at(folder).tensors["trained"]
    masks = {name: score >= score.flatten().sort().values[score.numel() * 9 // 10] for name, score in scores.items()}
    return [json.loads(line)["loss"] for line in lines], masks


def test_blocks_feed_each_layer_with_the_nodes_that_the_next_one_needs() -> None:
    graph = planted_graph()
    sampler = NeighborSampler(graph.indptr, graph.indices, [4, 3, 2], 0)
    data = next(SeedLoader(graph_data(graph), SeedPlan(graph.train, 10, 0), sampler, epochs=1).epoch(0))
    blocks = hop_blocks(graph, Sample(0, data.n_id, int(data.batch_size), data.hops))
    assert len(blocks) == 3
    assert blocks[0].num_src == data.n_id.numel()
    for before, after in pairwise(blocks):
        assert before.num_dst == after.num_src
    assert blocks[-1].num_dst == int(data.batch_size)
    for block, fan_out in zip(blocks, [2, 3, 4], strict=True):
        counts = block.indptr.diff()
        assert bool((counts == block.degree[: block.num_dst].clamp(max=fan_out)).all())


def test_ranks_agree_on_the_kind_of_features() -> None:
    """Most training nodes have dense features, the graph as a whole has sparse ones: dropout must be the same."""
    graph = planted_graph()
    x = graph.x.clone()
    kept = torch.zeros(graph.num_nodes, dtype=torch.bool)
    kept[graph.train[:10]] = True
    x[~kept] = 0.0
    graph = dataclasses.replace(graph, x=x)
    settings = config(batch__size=0, batch__fan_out=[], model__depth=1)
    kinds = {
        type(next(make_batches(graph, settings, Ranks(rank, size)).epoch(0)).x)
        for size in (1, 4)
        for rank in range(size)
    }
    assert kinds == {SparseFeatures}
