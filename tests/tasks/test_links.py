"""Link prediction: batches, evaluation and runs, on one rank and on several."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ogb.linkproppred import Evaluator as OGBEvaluator
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tests.graphs.link_graphs import NO_NODES, both_ways, edge_set, pair_set
from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.evaluation.links import LinkEvaluator
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.link_split import corrupted, link_split
from ugts_dist.models import GNN
from ugts_dist.tasks import LinkTask, make_task
from ugts_dist.tasks.link_batches import FullLinks, LinkBatch, SampledLinks, make_link_batches
from ugts_dist.training.fit import Result, fit

FULL: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
SAMPLED: dict[str, Any] = {"batch__size": 700, "batch__fan_out": [5, 5]}
LINK: dict[str, Any] = {"task__kind": "link", "task__embedding": 16, "supermask__output_rms": 0.5}


def graph_without_labels(num_nodes: int = 200) -> Graph:
    graph = planted_graph(num_nodes=num_nodes)
    y = torch.full_like(graph.y, -1)
    return dataclasses.replace(graph, y=y, train=NO_NODES, valid=NO_NODES, test=NO_NODES, num_classes=0)


def settings(**changes: Any) -> Config:
    return config(**{**LINK, **FULL, **changes})


def split_of(graph: Graph, chosen: Config) -> Any:
    return link_split(graph, chosen.task.valid_edges, chosen.task.test_edges, chosen.data.split)


def batches_of(graph: Graph, chosen: Config, ranks: Ranks) -> FullLinks | SampledLinks:
    split = split_of(graph, chosen)
    return make_link_batches(split, chosen, ranks, FeatureTables(split.graph))


def ends(batch: LinkBatch) -> Tensor:
    """The node ids of the pairs of a batch."""
    return batch.nodes[batch.pairs]


@pytest.mark.parametrize("options", [FULL, SAMPLED], ids=["full", "sampled"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_pairs_of_each_step(options: dict[str, Any], world_size: int) -> None:
    graph, chosen = graph_without_labels(), settings(**options)
    alone = list(batches_of(graph, chosen, Ranks()).epoch(2))
    shared = [list(batches_of(graph, chosen, Ranks(rank, world_size)).epoch(2)) for rank in range(world_size)]
    for whole, *parts in zip(alone, *shared, strict=True):
        for label in (1.0, 0.0):
            own = torch.cat([ends(part)[:, part.y == label] for part in parts], 1)
            assert torch.equal(own, ends(whole)[:, whole.y == label])
        assert {part.num_pairs_of_all for part in parts} == {whole.y.numel()}


@pytest.mark.parametrize("options", [FULL, SAMPLED], ids=["full", "sampled"])
def test_an_epoch_has_each_training_pair_once_and_as_many_others(options: dict[str, Any]) -> None:
    graph, chosen = graph_without_labels(), settings(**options)
    split = split_of(graph, chosen)
    batches = list(batches_of(graph, chosen, Ranks()).epoch(0))
    positives = torch.cat([ends(batch)[:, batch.y == 1] for batch in batches], 1)
    negatives = torch.cat([ends(batch)[:, batch.y == 0] for batch in batches], 1)
    assert sorted(positives.t().tolist()) == sorted(split.train.t().tolist())
    assert negatives.shape == positives.shape
    assert not pair_set(negatives) & both_ways(edge_set(split.graph))


def test_a_later_step_is_the_same_without_those_before_it() -> None:
    graph, chosen = graph_without_labels(), settings(**SAMPLED)
    batches = batches_of(graph, chosen, Ranks())
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, first_step=2))
    for one, other in zip(whole[2:], rest, strict=True):
        assert one.step == other.step
        assert torch.equal(ends(one), ends(other))
        assert torch.equal(one.nodes, other.nodes)


@pytest.mark.parametrize("options", [FULL, SAMPLED], ids=["full", "sampled"])
def test_messages_in_training_come_along_training_edges_only(options: dict[str, Any]) -> None:
    graph, chosen = graph_without_labels(), settings(task__test_edges=0.3, **options)
    split = split_of(graph, chosen)
    held_out = both_ways(pair_set(split.valid.positives) | pair_set(split.test.positives))
    batches = batches_of(graph, chosen, Ranks())
    for batch in (*batches.epoch(0), batches.calibration_batch()):
        for block in batch.blocks:
            destination = torch.arange(block.num_dst).repeat_interleave(block.indptr.diff())
            edges = batch.nodes[torch.stack([block.indices.long(), destination])]
            assert edges.numel()
            assert not pair_set(edges) & held_out


def test_logits_of_sampled_pairs_are_those_of_the_whole_graph_with_all_neighbours() -> None:
    graph = graph_without_labels()
    chosen = settings(batch__size=50, batch__fan_out=[-1, -1], batch__norm="full")
    task = make_task(graph, chosen)
    network = task.network(chosen)
    assert isinstance(network, GNN)
    batch = next(iter(task.batches(chosen, Ranks()).epoch(0)))
    with torch.no_grad():
        logits = task.forward(network, batch)
        expected = expected_logits(network, split_of(graph, chosen).graph, ends(batch))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def expected_logits(network: GNN, graph: Graph, pairs: Tensor) -> Tensor:
    """By one forward pass over the whole message graph."""
    blocks = [graph_block(graph, torch.device("cpu"))] * network.depth
    z = network(graph.x.float(), blocks)
    return torch.stack([z[a] @ z[b] for a, b in pairs.t().tolist()])


METRICS = ("roc-auc", "average-precision", "hits@50", "mrr")


def measure_rank(rank: int, world_size: int) -> dict[str, dict[str, float]]:
    graph = graph_without_labels()
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    results = {}
    for metric in METRICS:
        chosen = settings(task__metric=metric, task__test_edges=0.2)
        task = make_task(graph, chosen)
        results[metric], loss = task.evaluator(chosen, ranks).measure(task.network(chosen), torch.tensor(float(rank)))
        assert loss == sum(range(world_size))
    return results


def test_each_pair_counts_once_on_any_number_of_ranks() -> None:
    alone = measure_rank(0, 1)
    for of_rank in spawn(3, measure_rank, 3):
        for metric in METRICS:
            assert of_rank[metric] == pytest.approx(alone[metric], abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_those_of_one_forward_pass(metric: str) -> None:
    graph, chosen = graph_without_labels(), settings(task__metric=metric, task__test_edges=0.2)
    task, split = make_task(graph, chosen), split_of(graph, chosen)
    network = task.network(chosen)
    assert isinstance(network, GNN)
    measured, _ = task.evaluator(chosen, Ranks()).measure(network, torch.zeros(()))
    for name, part in (("valid", split.valid), ("test", split.test)):
        others = corrupted("", split.edges, part.positives, 100, 0, 0)
        of_each = torch.stack([part.positives[0][:, None].expand_as(others), others]).flatten(1)
        with torch.no_grad():
            positive = expected_logits(network, part.graph, part.positives)
            negative = expected_logits(network, part.graph, of_each if metric == "mrr" else part.negatives)
        assert measured[name] == pytest.approx(independent(metric, positive, negative), abs=1e-5)


def independent(metric: str, positive: Tensor, negative: Tensor) -> float:
    """By OGB's Evaluator, or by scikit-learn."""
    if metric == "mrr":
        predictions = {"y_pred_pos": positive, "y_pred_neg": negative.view(-1, 100)}
        return float(OGBEvaluator("ogbl-citation2").eval(predictions)["mrr_list"].mean())
    if metric == "hits@50":
        return float(OGBEvaluator("ogbl-collab").eval({"y_pred_pos": positive, "y_pred_neg": negative})["hits@50"])
    y = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
    score = {"roc-auc": roc_auc_score, "average-precision": average_precision_score}[metric]
    return float(score(y, torch.cat([positive, negative])))


def test_embeddings_that_are_not_finite_are_noticed() -> None:
    graph, chosen = graph_without_labels(), settings()
    task = make_task(graph, chosen)
    network = task.network(chosen)
    with torch.no_grad():
        next(network.parameters())[0, 0] = torch.nan
    measured, loss = task.evaluator(chosen, Ranks()).measure(network, torch.tensor(1.0))
    assert loss != loss
    assert all(value != value for value in measured.values())


CELLS = list(itertools.product((FULL, SAMPLED), ("dense", "ugts")))


def cell(options: dict[str, Any], method: str) -> Config:
    return settings(
        supermask__method=method,
        supermask__sparsity=0.5,
        run__epochs=15,
        optim__lr=0.01,
        run__evaluate_every=3,
        **options,
    )


def fit_cells(rank: int, world_size: int, folder: str) -> list[Result]:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    results = []
    for number, (options, method) in enumerate(CELLS):
        place = Path(folder, str(number))
        if ranks.is_main:
            place.mkdir(parents=True)
        dist.barrier()
        results.append(fit(cell(options, method), graph_without_labels(), ranks, place))
    return results


def test_a_run_learns_on_one_rank_and_on_two(tmp_path: Path) -> None:
    of_two = spawn(2, fit_cells, 2, str(tmp_path / "two"))
    for number, ((options, method), theirs, twin) in enumerate(zip(CELLS, *of_two, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        own = fit(cell(options, method), graph_without_labels(), Ranks(), folder)
        assert own.metric == theirs.metric == "ROC-AUC"
        assert own.test > 0.7, f"{options}, {method}"
        assert theirs.valid == pytest.approx(own.valid, abs=0.05), f"{options}, {method}"
        assert (theirs.valid, theirs.test) == (twin.valid, twin.test)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch__micro_batches": 2, **SAMPLED}, r"batch\.micro_batches is 2, allowed is 1, as task\.kind is link"),
        ({"data__left_out": 0.4}, r"data\.left_out is 0\.4, allowed is 0, as task\.kind is link"),
        ({"data__edge_noise": 0.4}, r"data\.edge_noise is 0\.4, allowed is 0, as task\.kind is link"),
        ({"task__metric": "hits@100", "task__valid_edges": 0.01}, r"task\.metric is hits@100, allowed is a K of at m"),
        ({"task__valid_edges": 1e-4}, r"planted: has .* pairs .* and task\.valid_edges is 0\.0001; allowed is what"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinkTask(graph_without_labels(), settings(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task__metric": "accuracy"},
            r"task\.metric is accuracy, allowed is auto, roc-auc, .*mrr, as the task is link",
        ),
        ({"task__class_weight": "balanced"}, r"task\.class_weight is balanced, allowed is none"),
        ({"task__loss": "mae"}, r"task\.loss is mae, allowed is mse"),
        ({"task__kind": "auto"}, r"task\.embedding is 16, allowed is 64, as task\.kind is not link"),
        ({"task__test_edges": 0.95}, r"task\.test_edges is 0\.95, allowed is a fraction that leaves edges to train"),
        ({"task__valid_edges": 0.0}, r"task\.valid_edges is 0\.0, allowed is a fraction above 0 and below 1"),
        ({"task__embedding": 0}, r"task\.embedding is 0, allowed is 1 to"),
    ],
)
def test_configurations_of_other_tasks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**changes)


def test_more_ranks_than_pairs_are_refused() -> None:
    graph, chosen = graph_without_labels(), settings(batch__size=2, batch__fan_out=[2, 2])
    with pytest.raises(InputError, match=r"batch\.size: 2 is the number of seed pairs a step over all ranks"):
        LinkTask(graph, chosen).check(chosen, Ranks(0, 3))


def test_keys_of_other_tasks_have_no_new_field() -> None:
    assert not [name for name in config().determining() if name.endswith(("_edges", "embedding"))]
    assert settings().determining()["task.embedding"] == 16


def test_an_evaluation_on_several_ranks_refuses_alike() -> None:
    """A node with edges to all others has no other end: every rank says so, not only the one that has it."""
    for message in spawn(2, refused_rank, 2):
        assert "task.metric mrr finds no other ends" in message


def refused_rank(rank: int, world_size: int) -> str:
    nodes = torch.arange(40)
    hub = torch.stack([torch.zeros(39, dtype=torch.int64), nodes[1:]])
    y = torch.full((40,), -1)
    star = from_edges("star", torch.rand(40, 4), hub, y, NO_NODES, NO_NODES, NO_NODES, 0)
    split = link_split(star, 0.03, 0.03, 0)
    assert split.valid.positives.shape[1] == 1
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    try:
        LinkEvaluator("star", split, 0, ranks, torch.device("cpu"), "mrr", lambda graph, _: Evaluator(graph, ranks))
    except InputError as error:
        return str(error)
    return ""
