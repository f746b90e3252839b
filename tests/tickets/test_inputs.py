"""What an exported file says of its inputs, and the printed Python, which is run as a reader would run it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tests.models.graphs import random_edges
from tests.tickets.helpers import FEATURES, config_of, saved, ticket_of
from tests.tickets.test_export import our_outputs
from tests.training.helpers import planted_graph
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.graphs.standardize import ColumnStatistics
from ugts_dist.graphs.store_files import LAYOUT
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.graphs.targets import Scale
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.export import export
from ugts_dist.tickets.inputs import inputs_of
from ugts_dist.tickets.options import Format
from ugts_dist.tickets.plain import plain_model

KINDS = ("state-dict", "torch-export", "onnx")
MEAN, DEVIATION = torch.linspace(-3, 900, FEATURES).double(), torch.linspace(0, 40, FEATURES).double()


def standardized_ticket(features: str = "standardize", name: str = "mine") -> Ticket:
    """A ticket for features of which the first is constant."""
    ticket = ticket_of(config_of("gcn", data__name=name, data__features=features))
    ticket.provenance["columns"] = ColumnStatistics(MEAN, DEVIATION).to_json()
    return ticket


def raw_graph() -> tuple[Tensor, Tensor]:
    x = torch.randn(30, FEATURES, generator=torch.Generator().manual_seed(0)) * DEVIATION + MEAN
    return x.float(), random_edges(30, 90, 0)


def by_printed_lines(path: Path, kind: Format, x: Tensor, edge_index: Tensor, **more: Tensor) -> Tensor:
    """The last thing that the lines compute: targets, otherwise logits."""
    lines = export(path, kind, path.with_name(f"out.{kind}")).lines
    names: dict[str, Any] = {"x": x, "edge_index": edge_index, **more}
    with torch.no_grad():
        exec("\n".join(lines), names)
    return torch.as_tensor(names.get("targets", names["logits"]))


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_lines_predict_from_features_as_they_are(kind: Format, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    ticket, (x, edge_index) = standardized_ticket(), raw_graph()
    found = by_printed_lines(saved(tmp_path, ticket), kind, x, edge_index)
    scaled = np.where(DEVIATION > 0, (x.double() - MEAN) / np.where(DEVIATION > 0, DEVIATION, 1), 0)
    expected = our_outputs(ticket, config_of("gcn"), torch.from_numpy(scaled).float(), edge_index)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "name", "scaled"),
    [("auto", "cora", True), ("none", "cora", False), ("auto", "mine", False), ("row-normalize", "mine", True)],
)
def test_rows_are_normalised_as_in_the_training(features: str, name: str, scaled: bool, tmp_path: Path) -> None:
    ticket = ticket_of(config_of("gcn", data__name=name, data__features=features))
    x, edge_index = raw_graph()
    x = x.abs()
    x = x.index_fill(1, torch.tensor([0]), 0.0) if name == "cora" else x + 1.0
    expected = our_outputs(ticket, config_of("gcn"), x / x.sum(1, keepdim=True) if scaled else x, edge_index)
    found = by_printed_lines(saved(tmp_path, ticket), "state-dict", x, edge_index)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_in_their_own_units(kind: Format, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    ticket, (x, edge_index) = ticket_of(config_of("gcn", data__name="mine")), raw_graph()
    logits = our_outputs(ticket, config_of("gcn"), x, edge_index)
    mean, deviation = torch.arange(logits.shape[1]) * 100.0, torch.arange(logits.shape[1]) + 1.0
    ticket.provenance["labels"] = {"kind": "regression", **Scale(mean.double(), deviation.double()).to_json()}
    found = by_printed_lines(saved(tmp_path, ticket), kind, x, edge_index)
    torch.testing.assert_close(found, logits * deviation + mean, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_reads_edge_weights_gets_them(kind: Format, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    ticket, (x, edge_index) = ticket_of(config_of("gcn", data__name="mine")), raw_graph()
    ticket.provenance["edge_weights"] = True
    path = saved(tmp_path, ticket)
    weight = torch.rand(edge_index.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = plain_model(ticket, path).build()(x, edge_index, weight)
    assert not torch.allclose(expected, our_outputs(ticket, config_of("gcn"), x, edge_index), rtol=1e-2)
    found = by_printed_lines(path, kind, x, edge_index, edge_weight=weight)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_classes_are_those_of_the_ticket_without_its_store(tmp_path: Path) -> None:
    ticket = ticket_of(config_of("gcn", data__name="gone"), classes=2)
    ticket.provenance["classes"] = ["ham", "spam"]
    inputs = inputs_of(ticket, tmp_path / "a.ticket")
    assert inputs is not None
    assert inputs.classes == ("ham", "spam")


def test_an_older_ticket_leaves_statistics_to_the_reader(tmp_path: Path) -> None:
    ticket, (x, edge_index) = standardized_ticket(), raw_graph()
    del ticket.provenance["columns"]
    wide = x.double()
    own = torch.where(wide.std(0) > 1e-9, (wide - wide.mean(0)) / wide.std(0, correction=0), 0.0)
    expected = our_outputs(ticket, config_of("gcn"), own.float(), edge_index)
    found = by_printed_lines(saved(tmp_path, ticket), "state-dict", x, edge_index)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_files_hold_the_same_description(tmp_path: Path) -> None:
    path = saved(tmp_path, standardized_ticket())
    inputs = inputs_of(Ticket.load(path), path)
    assert inputs is not None
    expected = inputs.to_json()
    assert expected["num_features"] == FEATURES
    np.testing.assert_allclose(expected["mean"], MEAN, rtol=1e-6)
    np.testing.assert_allclose(expected["factor"][1:], 1 / DEVIATION[1:], rtol=1e-6)
    assert expected["factor"][0] == 0
    extra = {"inputs.json": ""}
    export(path, "torch-export", tmp_path / "a.pt2")
    torch.export.load(io.BytesIO((tmp_path / "a.pt2").read_bytes()), extra_files=extra)
    assert json.loads(extra["inputs.json"]) == expected
    entries: dict[Format, str] = {"state-dict": "pyg", "csr": "csr"}
    for kind, entry in entries.items():
        export(path, kind, tmp_path / kind)
        assert json.loads(safe_open(tmp_path / kind, "pt").metadata()[entry])["inputs"] == expected


def test_kept_weights_are_loaded_by_the_printed_lines(tmp_path: Path) -> None:
    path = saved(tmp_path, standardized_ticket())
    names: dict[str, Any] = {}
    exec("\n".join(export(path, "csr", tmp_path / "out").lines), names)
    assert torch.equal(names["weight"], Ticket.load(path).effective()[names["name"]])


def test_classes_of_a_prepared_graph_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path))
    names = ("red", "green", "blue", "grey")
    graph = planted_graph()
    with StoreWriter(tmp_path / "named", "named", 4, class_names=names) as writer:
        for array in LAYOUT:
            values = getattr(graph, array).numpy()
            writer.write(array, values.dtype, [values], values.shape[1:])
        writer.finish()
    ticket = ticket_of(config_of("gcn", data__name="named"), features=16, classes=4)
    inputs = inputs_of(ticket, tmp_path / "a.ticket")
    assert inputs is not None
    assert inputs.to_json() == {
        "num_features": 16,
        "row_normalize": False,
        "standardize": False,
        "classes": list(names),
    }
    main(["ticket", "export", str(saved(tmp_path, ticket)), "--format", "state-dict", "--out", str(tmp_path / "b")])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{tmp_path / 'b'}: {(tmp_path / 'b').stat().st_size:,} bytes"
    assert len(told) == 5, "the size, and four lines of Python"
    assert Config.from_dict(ticket.config, "").data.name == "named"
