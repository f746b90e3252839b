"""Each kind of labels of nodes x full and sampled batches x 1 and 2 ranks x dense and masked networks."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import f1_score, roc_auc_score

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph, validate
from ugts_dist.tasks import NodeTask
from ugts_dist.training.fit import Result, fit

KINDS: dict[str, dict[str, Any]] = {
    "binary": {"task__metric": "roc-auc", "task__class_weight": "balanced"},
    "multilabel": {},
    "regression": {"task__metric": "r2"},
}
CELLS = list(itertools.product(("full", "sampled"), ("dense", "ugts")))


def graph_of(kind: str) -> Graph:
    """The planted graph with other labels: a rare class, several labels with gaps, or two targets of other scales."""
    graph = planted_graph()
    generator = torch.Generator().manual_seed(1)
    if kind == "binary":
        graph = dataclasses.replace(graph, y=(graph.y == 0).long(), num_classes=2)
    elif kind == "multilabel":
        y = torch.stack([graph.y == 0, graph.y <= 1, graph.y == 3], 1).float()
        y[torch.rand(len(y), generator=generator) < 0.2, 0] = torch.nan
        graph = dataclasses.replace(graph, y=y, num_classes=3)
    else:
        level = graph.y.float()
        y = torch.stack([1000 + 50 * level, 1e-3 * (level - 2).square()], 1)
        graph = dataclasses.replace(graph, y=y, num_classes=2)
    validate(graph)
    return graph


def settings(kind: str, batches: str, method: str) -> Config:
    full: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []} if batches == "full" else {}
    rate = {"optim__lr": 0.01} if method == "dense" else {}
    return config(supermask__method=method, supermask__sparsity=0.5, run__epochs=30, **full, **rate, **KINDS[kind])


def fit_cells(rank: int, world_size: int, kind: str, folder: str) -> list[Result]:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    results = []
    for batches, method in CELLS:
        place = Path(folder, batches, method)
        if ranks.is_main:
            place.mkdir(parents=True)
        dist.barrier()
        results.append(fit(settings(kind, batches, method), graph_of(kind), ranks, place))
    return results


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_run_learns_on_one_rank_and_on_two(kind: str, tmp_path: Path) -> None:
    of_two = spawn(2, fit_cells, 2, kind, str(tmp_path / "two"))
    for (batches, method), theirs, twin in zip(CELLS, *of_two, strict=True):
        folder = tmp_path / batches / method
        folder.mkdir(parents=True)
        own = fit(settings(kind, batches, method), graph_of(kind), Ranks(), folder)
        title = {"binary": "ROC-AUC", "multilabel": "ROC-AUC", "regression": "R2"}[kind]
        assert own.metric == theirs.metric == title
        assert own.valid > 0.6, f"{batches}, {method}"
        assert theirs.valid == pytest.approx(own.valid, abs=0.05), f"{batches}, {method}"
        assert (theirs.valid, theirs.test) == (twin.valid, twin.test)


def measure_rank(rank: int, world_size: int, kind: str, metric: str) -> dict[str, float]:
    graph, chosen = graph_of(kind), config(task__metric=metric)
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    task = NodeTask(graph, chosen.task)
    return task.evaluator(chosen, ranks).measure(task.network(chosen), torch.zeros(()))[0]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("binary", "f1-macro"), ("binary", "roc-auc"), ("multilabel", "f1-micro"), ("regression", "mae")],
)
def test_each_node_counts_once_on_any_number_of_ranks(kind: str, metric: str) -> None:
    graph, chosen = graph_of(kind), config(task__metric=metric)
    task = NodeTask(graph, chosen.task)
    model = task.network(chosen)
    alone = measure_rank(0, 1, kind, metric)
    for of_rank in spawn(3, measure_rank, 3, kind, metric):
        assert of_rank == pytest.approx(alone, abs=1e-6)
    batch = task.batches(chosen.replace({"batch.size": 0, "batch.fan_out": []}), Ranks()).calibration_batch()
    with torch.no_grad():
        outputs = task.forward(model, batch)
    for split in ("valid", "test"):
        nodes = getattr(graph, split)
        y, predicted = graph.y[nodes], outputs[nodes]
        assert alone[split] == pytest.approx(independent(metric, y, predicted, graph), abs=1e-5)


def independent(metric: str, y: torch.Tensor, outputs: torch.Tensor, graph: Graph) -> float:
    """The metric by scikit-learn or by its definition, from the logits of a plain forward pass."""
    if metric == "f1-macro":
        return float(f1_score(y, outputs.argmax(1), average="macro"))
    if metric == "roc-auc":
        return float(roc_auc_score(y, outputs.softmax(1)[:, 1]))
    if metric == "f1-micro":
        known = ~y.isnan()
        return float(f1_score(y[known], outputs[known] > 0))
    train = graph.y[graph.train]
    targets = outputs * train.std(0, correction=0) + train.mean(0)
    return float((targets - y).abs().mean())


def test_a_split_with_one_label_is_refused_before_training() -> None:
    graph, chosen = graph_of("binary"), config(task__metric="roc-auc")
    graph = dataclasses.replace(graph, y=graph.y.index_fill(0, graph.valid, 0))
    with pytest.raises(InputError, match=r"task\.metric is roc-auc, but valid of planted has labels of one kind only"):
        NodeTask(graph, chosen.task).check(chosen, Ranks())


def test_the_best_epoch_has_the_lowest_error(tmp_path: Path) -> None:
    chosen = settings("regression", "full", "ugts").replace({"task.metric": "rmse", "run.epochs": 20})
    rows: list[dict[str, float]] = []
    result = fit(
        chosen, graph_of("regression"), Ranks(), tmp_path, on_epoch=lambda _, metrics, metric: rows.append(metrics)
    )
    admitted = [row["valid"] for row in rows[chosen.ramp_epochs :]]
    assert result.metric == "RMSE"
    assert result.valid == min(admitted) < max(admitted)
