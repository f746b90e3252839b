"""Link prediction from the command line: a store without labels, a run, embeddings, and the pairs of a file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist

from tests.graphs.link_graphs import NO_NODES
from tests.processes import spawn
from tests.training.helpers import planted_graph
from ugts_dist.checkpointing.result_file import read_result
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.cli import main
from ugts_dist.config import load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.models import GNN
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict

OPTIONS = ["--task.kind", "link", "--task.embedding", "8", "--model.width", "16", "--run.epochs", "4"]
QUIET = ["--log.to", "--log.no-progress"]
NUM_NODES = 200


def graph_without_labels() -> Graph:
    graph = planted_graph(num_nodes=NUM_NODES)
    y = torch.full_like(graph.y, -1)
    return replace(graph, y=y, train=NO_NODES, valid=NO_NODES, test=NO_NODES, num_classes=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store without labels and a run on it."""
    folder = tmp_path_factory.mktemp("links")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UGTS_STORES", str(folder / "stores"))
        write_store(graph_without_labels(), folder / "stores/mine")
        main(["train", "--data.name", "mine", *OPTIONS, *QUIET, "--run.folder", str(folder / "run")])
    return folder


@pytest.fixture(autouse=True)
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UGTS_STORES", str(trained / "stores"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def embeddings_of(ticket: Path, graph: Graph) -> torch.Tensor:
    """By one forward pass over the whole graph, on standardised features if the run had them."""
    network = load_saved(ticket).network()
    assert isinstance(network, GNN)
    x = graph.x
    if load_toml(ticket / "config.toml").data.features == "standardize":
        x = (x - x.mean(0)) / x.std(0, correction=0)
    with torch.no_grad():
        return network(x, [graph_block(graph, torch.device("cpu"))] * network.depth)


def pairs_file(path: Path, pairs: Any) -> str:
    if path.suffix == ".npy":
        np.save(path, pairs)
    elif path.suffix == ".parquet":
        pd.DataFrame(pairs, columns=["a", "b"]).to_parquet(path)
    else:
        pd.DataFrame(pairs, columns=["a", "b"]).to_csv(path, index=False, header="header" in path.name)
    return str(path)


def test_a_ticket_measures_the_same_again(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = read_result(trained / "run")
    assert result["metric"] == "ROC-AUC"
    main(["evaluate", str(trained / "run")])
    assert f"test ROC-AUC {result['test']:.4f}" in capsys.readouterr().out


def test_embeddings_of_all_nodes(trained: Path) -> None:
    main(["predict", str(trained / "run"), "--out", "z.parquet"])
    table = pd.read_parquet("z.parquet")
    assert list(table.columns) == ["node", *(f"z_{k}" for k in range(8))]
    assert list(table["node"]) == list(range(NUM_NODES))
    written = torch.from_numpy(table.drop(columns="node").to_numpy())
    torch.testing.assert_close(written, embeddings_of(trained / "run", graph_without_labels()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["a.csv", "header.csv", "a.parquet", "a.npy"])
def test_probabilities_of_pairs(trained: Path, folder: Path, name: str) -> None:
    pairs = np.array([[0, 1], [3, 199], [7, 7], [5, 2]])
    main(["predict", str(trained / "run"), "--pairs", pairs_file(folder / name, pairs), "--out", "p.parquet"])
    table = pd.read_parquet("p.parquet")
    assert list(table.columns) == ["source", "destination", "probability"]
    assert table[["source", "destination"]].to_numpy().tolist() == pairs.tolist()
    z = embeddings_of(trained / "run", graph_without_labels())
    expected = [float((z[a] @ z[b]).sigmoid()) for a, b in pairs]
    assert list(table["probability"]) == pytest.approx(expected, abs=1e-5)


def predict_rank(rank: int, world_size: int, options: PredictOptions, stores: str) -> int:
    os.environ["UGTS_STORES"] = stores  # the ranks may come from a process that began before this test
    return predict(options, Ranks(rank, world_size, process_group=dist.group.WORLD)).rows


def test_two_ranks_write_the_pairs_in_order(trained: Path, folder: Path) -> None:
    pairs = np.random.default_rng(0).integers(0, NUM_NODES, (101, 2))
    file = pairs_file(folder / "pairs.npy", pairs)
    alone, shared = str(folder / "alone.parquet"), str(folder / "shared.parquet")
    main(["predict", str(trained / "run"), "--pairs", file, "--out", alone])
    spawn(2, predict_rank, 2, PredictOptions(str(trained / "run"), shared, pairs=file), str(trained / "stores"))
    assert len(pd.read_parquet(shared)) == 101
    pd.testing.assert_frame_equal(pd.read_parquet(alone), pd.read_parquet(shared), rtol=1e-5)


def test_words_for_nodes(trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(folder / "stores"))
    graph = graph_without_labels()
    words = [f"node {k}" for k in range(NUM_NODES)]
    destination = torch.arange(NUM_NODES).repeat_interleave(graph.degree).tolist()
    ends = {"source": [words[k] for k in graph.indices.tolist()], "target": [words[k] for k in destination]}
    pd.DataFrame(graph.x.numpy()).assign(id=words).to_csv("x.csv", index=False)
    pd.DataFrame(ends).to_csv("edges.csv", index=False)
    main(["prepare", "named", "--edges", "edges.csv", "--features", "x.csv"])
    for name in ("a.csv", "header.csv"):
        file = pairs_file(folder / name, [["node 3", "node 9"], ["node 11", "node 3"]])
        out = f"{name}.parquet"
        main(["predict", str(trained / "run"), "--graph", "named", "--pairs", file, "--out", out])
        table = pd.read_parquet(out)
        assert table["source"].tolist() == ["node 3", "node 11"]
        assert table["destination"].tolist() == ["node 9", "node 3"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 1], [2, 200]], r"pairs\.npy row 2: id 200 in column 2; allowed: 0 to 199"),
        ([[0, 1, 2]], r"--pairs is .*pairs\.npy, which has 3 columns; allowed: 2 of node ids"),
        (np.empty((0, 2), np.int64), r"--pairs is .*pairs\.npy, which has no pairs"),
        ([["a", "b"]], r"--pairs is .*pairs\.npy, which has words; allowed: ids of .*, which are whole numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(trained: Path, folder: Path, pairs: Any, message: str) -> None:
    options = PredictOptions(str(trained / "run"), "p.csv", pairs=pairs_file(folder / "pairs.npy", pairs))
    with pytest.raises(InputError, match=message):
        predict(options, Ranks())
    assert not Path("p.csv").exists()


def test_pairs_are_for_link_prediction_and_labels_are_not_needed_elsewhere(trained: Path, folder: Path) -> None:
    """The same ticket as one of node classes has no pairs; a node task refuses the store without labels."""
    ticket = Ticket.load(trained / "run/best.ticket")
    fields = {name: value for name, value in ticket.config.items() if name != "task"}
    origin = {name: value for name, value in ticket.provenance.items() if name != "labels"}
    replace(ticket, config=fields, provenance=origin).save(folder / "nodes.ticket")
    file = pairs_file(folder / "pairs.npy", [[0, 1]])
    with pytest.raises(InputError, match=r"--pairs is .*, allowed is none, as .*nodes\.ticket does not predict edges"):
        predict(PredictOptions("nodes.ticket", "p.csv", graph="mine", pairs=file), Ranks())
    with pytest.raises(SystemExit):
        main(["train", "--data.name", "mine", *QUIET])


def test_analyses_refuse_a_network_of_links(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["analyse", "mad", str(trained / "run")])
    assert "a network that predicts edges; allowed is one that predicts classes of nodes" in capsys.readouterr().err


def test_rules_choose_for_links(trained: Path) -> None:
    config = load_toml(trained / "run/config.toml")
    assert config.supermask.output_rms == round(8**-0.25, 2)
    assert config.batch.size == 0
    assert config.model.dropout == 0.0
