"""An own network for links from the command line: measured again, its embeddings, pairs of a file, and its export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tests.tickets.test_pairs import NUM_NODES, QUIET, graph_without_labels, pairs_file
from tests.training.own_nets import gcn
from ugts_dist.checkpointing.result_file import read_result
from ugts_dist.cli import main
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Ticket

WIDTH = 8  # of an embedding
NETS = "tests.training.own_nets:gcn"
PARTS = ("crow_indices", "col_indices", "values")
OPTIONS = ["--task.kind", "link", "--task.embedding", str(WIDTH), "--run.epochs", "4", "--data.features", "none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store without labels and a run of an own network on it."""
    folder = tmp_path_factory.mktemp("own links")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UGTS_STORES", str(folder / "stores"))
        write_store(graph_without_labels(), folder / "stores/mine")
        own = ["--model.factory", NETS, "--model.args.width", "12", "--run.folder", str(folder / "run")]
        main(["train", "--data.name", "mine", *OPTIONS, *QUIET, *own])
    return folder


@pytest.fixture(autouse=True)
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UGTS_STORES", str(trained / "stores"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def embeddings(trained: Path) -> Tensor:
    """By PyG's network with the weights of the ticket, on all edges."""
    graph = graph_without_labels()
    plain = Ticket.load(trained / "run/best.ticket").apply(gcn(graph.num_features, WIDTH, width=12))
    destination = torch.arange(NUM_NODES).repeat_interleave(graph.degree)
    with torch.no_grad():
        z: Tensor = plain(graph.x, torch.stack([graph.indices.long(), destination]))
    return z


def test_a_ticket_measures_the_same_again(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(trained / "run"), "--factory", NETS])
    assert f"test ROC-AUC {read_result(trained / 'run')['test']:.4f}" in capsys.readouterr().out


def test_embeddings_of_all_nodes(trained: Path) -> None:
    main(["predict", str(trained / "run"), "--factory", NETS, "--out", "z.parquet"])
    written = torch.from_numpy(pd.read_parquet("z.parquet").drop(columns="node").to_numpy())
    torch.testing.assert_close(written, embeddings(trained), rtol=1e-4, atol=1e-5)


def test_probabilities_of_pairs(trained: Path, folder: Path) -> None:
    pairs = np.array([[0, 1], [3, 199], [7, 7], [5, 2]])
    file = pairs_file(folder / "a.npy", pairs)
    main(["predict", str(trained / "run"), "--factory", NETS, "--pairs", file, "--out", "p.parquet"])
    z = embeddings(trained)
    expected = [float((z[a] @ z[b]).sigmoid()) for a, b in pairs]
    assert list(pd.read_parquet("p.parquet")["probability"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "--out", "z.csv"]])
def test_the_code_has_to_be_named(trained: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command[0], str(trained / "run"), *command[1:]])
    assert "a network of your own code" in capsys.readouterr().err


def test_it_is_exported_as_its_weights_only(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ticket", "export", str(trained / "run"), "--format", "state-dict", "--out", "a.safetensors"])
    assert "a network of your own code; allowed is --format csr" in capsys.readouterr().err
    main(["ticket", "export", str(trained / "run"), "--format", "csr", "--out", "a.safetensors"])
    kept = Ticket.load(trained / "run/best.ticket").effective()
    with safe_open("a.safetensors", "pt") as file:
        for name, weight in kept.items():
            crow, col, values = (file.get_tensor(f"{name}/{part}") for part in PARTS)
            assert torch.equal(torch.sparse_csr_tensor(crow, col, values, weight.shape).to_dense(), weight)
