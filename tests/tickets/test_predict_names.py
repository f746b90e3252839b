"""Names of nodes and classes, and the accuracy, where the graph of the prediction is not that of the training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from pyarrow import csv, parquet
from sklearn.metrics import accuracy_score

from tests.processes import spawn
from tests.tickets.helpers import config_of, saved, ticket_of
from tests.training.helpers import planted_graph
from ugts_dist.checkpointing.provenance import classes_of
from ugts_dist.checkpointing.saved_network import Named, load_saved
from ugts_dist.cli import main
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import Predictions, predict
from ugts_dist.training.run import evaluate

NAMES = ("ant", "bee", "cat", "dog")
NUM_NODES = 240


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def graph_of(class_names: Sequence[str] = ()) -> Graph:
    return replace(planted_graph(num_nodes=NUM_NODES), class_names=tuple(class_names))


def without_split(graph: Graph) -> Graph:
    none = torch.empty(0, dtype=torch.int64)
    return replace(graph, train=none, valid=none, test=none)


def renamed(graph: Graph, order: Sequence[str]) -> Graph:
    """The same graph whose classes are numbered in another order."""
    number = torch.tensor([order.index(name) for name in graph.class_names])
    return replace(graph, y=number[graph.y], class_names=tuple(order), num_classes=len(order))


def named_ticket(folder: Path, class_names: Sequence[str] = NAMES) -> Path:
    ticket = ticket_of(config_of("gcn", data__name="elsewhere"), features=16, classes=4)
    ticket.provenance = {"classes": list(class_names)} if class_names else {}
    return saved(folder, ticket)


def predictions(graph: Graph, ticket: Path) -> tuple[Predictions, list[Any]]:
    """What is written about a graph, and the predicted class of each node."""
    write_store(graph, ticket.parent / "graph")
    options = PredictOptions(str(ticket), str(ticket.parent / "out.parquet"), graph=str(ticket.parent / "graph"))
    done = predict(options, Ranks())
    return done, parquet.read_table(options.out)["prediction"].to_pylist()


# Names


@pytest.mark.parametrize("method", ["ugts", "dense"])
def test_names_travel_with_the_network(method: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: the store of the training is gone, and the other graph has ids and no labels."""
    graph = graph_of(NAMES)
    write_store(graph, folder / "stores/mine")
    options = ["--run.epochs", "2", "--model.width", "8", "--log.to", "--log.no-progress"]
    main(["train", "--data.name", "mine", "--supermask.method", method, "--run.folder", "run", *options])
    file = next(Path("run").glob("best.*"))
    shutil.copy(file, f"moved{file.suffix}")
    shutil.rmtree(folder / "stores/mine")

    ids = [f"node {k}" for k in range(NUM_NODES)]
    pd.DataFrame(graph.x.numpy()).assign(id=ids).to_csv("x.csv", index=False)
    pd.DataFrame({"source": ids[1:], "target": ids[:-1]}).to_csv("edges.csv", index=False)
    main(["prepare", "other", "--edges", "edges.csv", "--features", "x.csv"])
    capsys.readouterr()
    main(["predict", f"moved{file.suffix}", "--graph", "other", "--out", "out.csv"])
    assert capsys.readouterr().out == f"out.csv: {NUM_NODES} rows\n"
    table = csv.read_csv("out.csv").to_pandas()
    assert list(table.columns) == ["node", "prediction", *(f"p_{name}" for name in NAMES)]
    assert list(table["node"]) == ids
    most = table[[f"p_{name}" for name in NAMES]].to_numpy().argmax(1)
    assert list(table["prediction"]) == [NAMES[k] for k in most]


def test_a_ticket_of_a_graph_without_names_says_nothing_of_them(folder: Path) -> None:
    write_store(graph_of(), folder / "stores/mine")
    options = ["--run.epochs", "1", "--model.width", "8", "--log.to", "--log.no-progress"]
    main(["train", "--data.name", "mine", "--run.folder", "run", *options])
    assert "classes" not in Ticket.load("run/best.ticket").provenance


def test_an_old_ticket_has_the_names_in_the_store_of_its_graph(folder: Path) -> None:
    write_store(graph_of(NAMES), folder / "stores/elsewhere")
    assert set(predictions(graph_of(), named_ticket(folder, ()))[1]) <= set(NAMES)


def test_numbers_without_names(folder: Path) -> None:
    """A ticket whose graph is not available."""
    assert set(predictions(graph_of(), named_ticket(folder, ()))[1]) <= {0, 1, 2, 3}


@pytest.mark.parametrize("names", [["a"] * 4, ["a", "b", "c", 4], "abcd", None, ["a", "b", "c"]])
def test_names_that_do_not_fit_are_ignored(names: Any, folder: Path) -> None:
    ticket = ticket_of(config_of("gcn", data__name="elsewhere"), features=16, classes=4)
    ticket.provenance = {"classes": names}
    path = saved(folder, ticket)
    assert len(load_saved(path).known_classes) in (0, 3)
    assert set(predictions(graph_of(), path)[1]) <= {0, 1, 2, 3}
    assert classes_of("text") == ()


def test_many_names_take_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ticket", "show", str(named_ticket(folder, [f"class{k}" for k in range(5)]))])
    assert "5 classes: class0, class1, class2, class3, ..." in capsys.readouterr().out


# The accuracy


def predict_rank(rank: int, world_size: int, options: PredictOptions) -> Predictions:
    return predict(options, Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None))


@pytest.mark.parametrize("world_size", [1, 2])
def test_accuracy_by_name(world_size: int, folder: Path) -> None:
    """Some nodes have a label, in another order of the classes, one of which the ticket does not have."""
    graph = renamed(graph_of(NAMES), ["zebra", "dog", "cat", "bee", "ant"])
    y = graph.y.clone()
    y[::3], y[7] = -1, 0
    write_store(without_split(replace(graph, y=y)), folder / "graph")
    options = PredictOptions(str(named_ticket(folder)), str(folder / "out.parquet"), graph=str(folder / "graph"))
    done = spawn(world_size, predict_rank, world_size, options)
    assert all(other.accuracy is None for other in done[1:])
    predicted = parquet.read_table(options.out)["prediction"].to_pylist()
    labelled = [k for k in range(NUM_NODES) if y[k] >= 0]
    true = [graph.class_names[int(y[k])] for k in labelled]
    expected = accuracy_score(true, [predicted[k] for k in labelled])
    assert 0 < expected < 1
    assert str(done[0].accuracy) == f"accuracy {expected:.4f} on {len(labelled)} labelled nodes"


@pytest.mark.parametrize("names", [(), NAMES])
def test_accuracy_on_the_test_nodes_is_that_of_an_evaluation(names: Sequence[str], folder: Path) -> None:
    """By numbers, or by names, which the graph has in another order than the ticket."""
    graph = renamed(graph_of(names), names[::-1]) if names else graph_of()
    path = named_ticket(folder, names)
    done, predicted = predictions(graph, path)
    true = [graph.class_names[k] if names else k for k in graph.y[graph.test].tolist()]
    expected = accuracy_score(true, [predicted[k] for k in graph.test.tolist()])
    assert 0 < expected < 1
    assert str(done.accuracy) == f"accuracy {expected:.4f} on {graph.test.numel()} test nodes"
    found = evaluate(path, Ranks(), Named(str(folder / "graph")))
    assert found.measured["test"] == pytest.approx(expected)


def test_no_accuracy_without_a_common_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, _ = predictions(without_split(graph_of([f"kind {k}" for k in range(4)])), named_ticket(folder))
    assert done.accuracy is None
    told = capsys.readouterr().err
    assert "planted has classes that" in told
    assert "does not have (kind 0, kind 1, kind 2, kind 3), hence no accuracy" in told
