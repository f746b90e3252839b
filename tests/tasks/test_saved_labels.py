"""A saved network knows what it predicts: several labels, or targets in their own units, also for another graph."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors import safe_open

from tests.tasks.test_kinds import graph_of, settings
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.scores import measured
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.export import export
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict
from ugts_dist.training.run import evaluate, run


def stored(graph: Graph, folder: Path) -> str:
    write_store(graph, folder)
    return str(folder)


def trained(kind: str, folder: Path, method: str = "ugts") -> Path:
    store = folder / "graph"
    if not store.exists():
        write_store(graph_of(kind), store)
    chosen = settings(kind, "full", method).replace({"data.name": str(store), "run.folder": str(folder / method)})
    return run(chosen.replace({"run.epochs": 20, "checkpoint.keep_last": 0}), Ranks())[1]


def table_of(path: Path, out: Path, graph: str = "") -> dict[str, np.ndarray]:
    predict(PredictOptions(str(path), str(out), graph=graph), Ranks())
    table = parquet.read_table(out)
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.mark.parametrize("method", ["ugts", "dense"])
@pytest.mark.parametrize(("kind", "prefix", "metric"), [("multilabel", "p", "roc-auc"), ("regression", "y", "r2")])
def test_predictions_have_the_metric_of_the_run(
    kind: str, prefix: str, metric: str, method: str, tmp_path: Path
) -> None:
    path, graph = trained(kind, tmp_path, method), graph_of(kind)
    evaluation = evaluate(path, Ranks())
    assert evaluation.measured == {split: evaluation.saved[split] for split in ("valid", "test")}
    columns = table_of(path, tmp_path / "out.parquet")
    assert list(columns) == ["node", *(f"{prefix}_{k}" for k in range(graph.num_classes))]
    predicted = np.stack([columns[f"{prefix}_{k}"] for k in range(graph.num_classes)], 1).astype(np.float64)
    nodes = graph.test
    assert measured(metric, graph.y[nodes].numpy(), predicted[nodes]) == pytest.approx(
        evaluation.measured["test"], abs=1e-5
    )


def test_targets_of_another_graph_have_the_scale_of_the_training(tmp_path: Path) -> None:
    """The other graph has targets a hundred times as large; the network must not know of it."""
    path, graph = trained("regression", tmp_path), graph_of("regression")
    other = stored(dataclasses.replace(graph, name="other", y=graph.y * 100), tmp_path / "other")
    own, theirs = (table_of(path, tmp_path / f"{k}.parquet", name) for k, name in enumerate(("", other)))
    for name, column in own.items():
        np.testing.assert_array_equal(theirs[name], column)
    again = evaluate(path, Ranks(), Named(other))
    assert again.metric == "R2"
    assert again.measured["test"] < -1.0
    none = torch.zeros(0, dtype=torch.int64)
    no_label = torch.full((graph.num_nodes,), -1)
    unlabelled = dataclasses.replace(graph, name="none", y=no_label, num_classes=0, train=none, valid=none, test=none)
    plain = table_of(path, tmp_path / "plain.parquet", stored(unlabelled, tmp_path / "none"))
    np.testing.assert_array_equal(plain["y_0"], own["y_0"])


def test_an_export_says_the_scale(tmp_path: Path) -> None:
    path = trained("regression", tmp_path)
    out = tmp_path / "net.safetensors"
    export(path / "best.ticket", "state-dict", out)
    with safe_open(out, "pt") as file:
        targets = json.loads(file.metadata()["pyg"])["inputs"]["targets"]
    graph = graph_of("regression")
    np.testing.assert_allclose(targets["mean"], graph.y[graph.train].double().mean(0), rtol=1e-12)


def test_a_damaged_scale_is_named(tmp_path: Path) -> None:
    ticket = Ticket.load(trained("regression", tmp_path) / "best.ticket")
    ticket.provenance["labels"]["deviation"] = [0.0, 1.0]
    ticket.save(tmp_path / "damaged.ticket")
    with pytest.raises(Exception, match=r"damaged\.ticket: damaged scale of the targets"):
        evaluate(tmp_path / "damaged.ticket", Ranks(), Named(str(tmp_path / "graph")))
    ticket.provenance["labels"] = {"kind": "colours"}
    ticket.save(tmp_path / "odd.ticket")
    with pytest.raises(Exception, match="predicts labels of the kind 'colours', allowed are classification"):
        evaluate(tmp_path / "odd.ticket", Ranks(), Named(str(tmp_path / "graph")))
