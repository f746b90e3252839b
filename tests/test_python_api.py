"""Tickets and dense networks from Python: graphs in memory, stores and names; results as tables and plots."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from tests.training.helpers import planted_graph
from ugts_dist import FoundTicket, InputError, TrainedNetwork, find_ticket, train_dense
from ugts_dist.api import _config, graph_name
from ugts_dist.config import load_preset
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.in_memory import graph_of
from ugts_dist.graphs.store import open_store

QUIET = {"log.progress": False, "model.width": 64}


def data_of(graph: Graph, **changes: Any) -> Data:
    """The graph as people have it in PyG."""
    masks = {
        field: torch.zeros(graph.num_nodes, dtype=torch.bool).index_fill(0, nodes, True)
        for field, nodes in (("train_mask", graph.train), ("val_mask", graph.valid), ("test_mask", graph.test))
    }
    ends = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    edge_index = torch.stack([graph.indices.long(), ends])
    return Data(**{"x": graph.x, "edge_index": edge_index, "y": graph.y, **masks, **changes})


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))
    return tmp_path / "stores"


def test_a_graph_in_memory_is_that_of_its_tensors() -> None:
    graph = planted_graph()
    again = graph_of(data_of(graph), "planted")
    for name in ("x", "indptr", "indices", "y", "train", "valid", "test"):
        assert torch.equal(getattr(again, name), getattr(graph, name))


def test_a_ticket_is_found_shown_and_used(tmp_path: Path, stores: Path) -> None:
    graph = planted_graph()
    found = find_ticket(data_of(graph), sparsity=0.5, epochs=80, folder=tmp_path / "run", settings=QUIET)
    assert isinstance(found, FoundTicket)
    assert found.bytes == found.path.stat().st_size
    assert found.valid == found.history["valid"].loc[40:].max() > 0.8
    assert found.ticket.config["supermask"]["sparsity"] == 0.5
    assert repr(found.ticket).startswith("Ticket(seed 0, ")
    assert found.evaluate() == {"valid": found.valid, "test": found.test}
    predicted = torch.tensor(found.predict()["prediction"].to_numpy())
    assert float((predicted == graph.y)[graph.test].double().mean()) == pytest.approx(found.test)
    assert next(found.model().parameters()).shape[0] == 64
    assert found.plot().axes[0].get_xlabel() == "epoch"
    assert FoundTicket.open(tmp_path / "run") == found
    (store,) = (stores / "memory").iterdir()
    assert torch.equal(open_store(store).indices, graph.indices)


def test_another_graph_in_memory_is_evaluated(tmp_path: Path) -> None:
    found = find_ticket(data_of(planted_graph()), sparsity=0.5, epochs=80, folder=tmp_path / "run", settings=QUIET)
    other = found.evaluate(data_of(planted_graph(seed=1)))
    assert other["test"] > 0.8
    assert other != found.evaluate()
    assert len(found.predict(data_of(planted_graph(num_nodes=250, seed=2)))) == 250


def test_a_dense_network_has_no_mask(tmp_path: Path) -> None:
    trained = train_dense("digits", "sage", epochs=3, folder=tmp_path / "run", settings=QUIET)
    assert type(trained) is TrainedNetwork
    assert trained.config.supermask.method == "dense"
    assert trained.path.suffix == ".safetensors"
    assert trained.history.index[-1] == 2


def test_a_preset_gives_what_is_not_said(tmp_path: Path) -> None:
    preset = "cora-gat-deep"
    with pytest.raises(InputError, match=r"data\.name: 'none' is not a dataset"):
        find_ticket("none", preset=preset)
    config, given = _config("digits", None, 3, None, None, None, tmp_path, {"supermask.sparsity": None}, preset, {})
    expected = load_preset(preset)
    assert (config.model, config.supermask, given) == (expected.model, expected.supermask, ())
    assert (config.data.name, config.run.epochs) == ("digits", 3)


def test_rules_choose_the_architecture_if_none_is_named(tmp_path: Path) -> None:
    """Neighbours of other classes: the rules take GraphSAGE."""
    graph = planted_graph()
    y = torch.randint(0, 4, (graph.num_nodes,), generator=torch.Generator().manual_seed(1))
    other = dataclasses.replace(graph, y=y)
    found = find_ticket(data_of(other), epochs=2, folder=tmp_path / "run", settings={"log.progress": False})
    assert found.config.model.arch == "sage"


def test_an_interrupted_call_resumes(tmp_path: Path) -> None:
    """A run that is finished is not run again."""
    first = find_ticket("digits", epochs=3, folder=tmp_path / "run", settings=QUIET)
    again = find_ticket("digits", epochs=3, folder=tmp_path / "run", settings=QUIET)
    assert first == again


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"x": None}, {}, "data.x: is NoneType; allowed: a dense tensor"),
        ({"val_mask": None}, {}, "data.val_mask: is missing; allowed: a mask over nodes, or a random split"),
        ({}, {"random_split": "60/60/20"}, "--split-random is 60/60/20, allowed is"),
        (
            {"train_mask": torch.ones(300, 2, dtype=torch.bool)},
            {"split": 2},
            "data.train_mask: has no split 2; allowed: 0 to 1",
        ),
        ("digits", {"split": 1}, "name, split and random_split belong to a PyG Data"),
        ({"edge_index": torch.tensor([[0], [300]])}, {}, "data.edge_index row 1: node 300; allowed: 0 to 299"),
    ],
)
def test_wrong_data_is_named_in_a_line(changes: Any, options: Any, message: str) -> None:
    data = changes if isinstance(changes, str) else data_of(planted_graph(), **changes)
    with pytest.raises(InputError) as caught:
        find_ticket(data, epochs=1, settings=QUIET, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_need_no_labels(tmp_path: Path) -> None:
    masks = dict.fromkeys(("train_mask", "val_mask", "test_mask"))
    data = data_of(planted_graph(), y=None, **masks)
    options = {**QUIET, "task.kind": "link", "task.embedding": 8}
    found = find_ticket(data, sparsity=0.5, epochs=20, folder=tmp_path / "run", settings=options)
    assert found.metric == "ROC-AUC"
    assert found.evaluate() == {"valid": found.valid, "test": found.test}
    assert list(found.predict().columns) == ["node", *(f"z_{k}" for k in range(8))]
    with pytest.raises(InputError, match="no labels and no split"):
        find_ticket(data, epochs=1, settings=QUIET)


def test_labels_without_a_split_train_links_alone(tmp_path: Path) -> None:
    data = data_of(planted_graph(), **dict.fromkeys(("train_mask", "val_mask", "test_mask")))
    with pytest.raises(InputError, match=r"has no split, .*random_split='60/20/20'"):
        find_ticket(data, epochs=1, settings=QUIET)
    options = {**QUIET, "task.kind": "link", "task.embedding": 8}
    assert find_ticket(data, epochs=2, folder=tmp_path / "run", settings=options).metric == "ROC-AUC"


def test_stores_of_equal_graphs_keep_the_numbers_of_their_classes() -> None:
    """Classes 0 and 5 are numbered 0 and 1; those of another graph are 0 and 1."""
    y = torch.arange(300) % 2
    first, second = (graph_name(data_of(planted_graph(), y=labels)) for labels in (y, 5 * y))
    assert [open_store(Path(store)).class_names for store in (first, second)] == [(), ("0", "5")]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a finished run, allowed is a folder with result"):
        FoundTicket.open(tmp_path)


def test_every_rank_gets_the_same_result(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, ugts_dist\n"
        "found = ugts_dist.find_ticket('digits', epochs=3, folder='run', settings={'log.progress': False})\n"
        "result = repr((found.valid, found.bytes, found.evaluate()))\n"
        "pathlib.Path('rank' + os.environ['RANK']).write_text(result)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert "valid" in first
    assert first == second
