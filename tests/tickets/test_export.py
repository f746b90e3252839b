from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
import torch_geometric.nn
from torch import Tensor, nn

from tests.models.graphs import block_of, random_edges
from tests.tickets.helpers import ARCHS, FEATURES, config_of, masked_weights, network_of, saved, ticket_of
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.models.graph_level import GraphNetwork
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tickets.export import export
from ugts_dist.tickets.options import Format

FORMATS: tuple[Format, ...] = ("state-dict", "csr", "torch-export", "onnx")
NETWORKS = [*((arch, depth, 1) for arch in ARCHS for depth in (1, 2, 3)), ("gat", 3, 4)]


def exported(folder: Path, ticket: Ticket, kind: Format) -> Path:
    out = folder / f"out.{kind}"
    size = export(saved(folder, ticket), kind, out).size
    assert size == out.stat().st_size
    assert sorted(path.name for path in folder.iterdir()) == ["a.ticket", out.name]
    return out


def graph(num_nodes: int, num_edges: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(num_nodes, FEATURES, generator=torch.Generator().manual_seed(seed))
    return x, random_edges(num_nodes, num_edges, seed)


def our_outputs(ticket: Ticket, config: Config, x: Tensor, edge_index: Tensor) -> Tensor:
    """The logits of our own network for the whole graph."""
    with torch.no_grad():
        return ticket.apply(network_of(config))(x, [block_of(edge_index, x.shape[0])] * config.model.depth)


def described(path: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model that the metadata describe, built as a reader would, and its state."""
    with safetensors.safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()["pyg"])
    package, _, name = told["class"].rpartition(".")
    assert package == "torch_geometric.nn"
    return getattr(torch_geometric.nn, name)(**told["arguments"]), safetensors.torch.load_file(path)


# State dict


@pytest.mark.parametrize(("arch", "depth", "heads"), NETWORKS)
def test_pygs_own_class_takes_the_state_and_has_our_outputs(arch: str, depth: int, heads: int, tmp_path: Path) -> None:
    config = config_of(arch, depth, heads)
    ticket = ticket_of(config)
    model, state = described(exported(tmp_path, ticket, "state-dict"))
    model.load_state_dict(state, strict=True)
    x, edge_index = graph(30, 90)
    expected = our_outputs(ticket, config, x, edge_index)
    assert float(expected.std()) > 0.05
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x, edge_index), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ["gcn", "sage", "gat"])
def test_the_names_are_our_own_where_pygs_are_the_same(arch: str, tmp_path: Path) -> None:
    config = config_of(arch)
    ticket = ticket_of(config)
    state = safetensors.torch.load_file(exported(tmp_path, ticket, "state-dict"))
    dense = masked_weights(ticket, config)
    assert state.keys() == dense.keys()
    assert all(torch.equal(value, dense[name]) for name, value in state.items())


def test_the_same_export_is_the_same_bytes(tmp_path: Path) -> None:
    ticket = ticket_of(config_of("gat"))
    kinds: tuple[Format, ...] = ("state-dict", "csr")
    for kind in kinds:
        for name in "abc":
            export(saved(tmp_path, ticket), kind, tmp_path / f"{name}.{kind}")
        assert len({(tmp_path / f"{name}.{kind}").read_bytes() for name in "abc"}) == 1


# CSR


@pytest.mark.parametrize("arch", [*ARCHS, "gin-paper"])
def test_csr_rebuilds_the_dense_weights(arch: str, tmp_path: Path) -> None:
    config = config_of(arch, depth=3, heads=4 if arch == "gat" else 1)
    ticket = ticket_of(config)
    path = exported(tmp_path, ticket, "csr")
    with safetensors.safe_open(path, framework="pt") as file:
        names = json.loads(file.metadata()["csr"])["weights"]
    tensors = safetensors.torch.load_file(path)
    dense = masked_weights(ticket, config)
    assert set(names) == ticket.masks.keys()
    for name in names:
        parts = {key: tensors.pop(f"{name}/{key}") for key in ("crow_indices", "col_indices", "values", "shape")}
        shape = torch.Size(parts.pop("shape").tolist())
        assert parts["crow_indices"].dtype == parts["col_indices"].dtype == torch.int32
        assert parts["values"].numel() == int(ticket.masks[name].sum())
        size = (parts["crow_indices"].numel() - 1, shape[-1])
        crow, col, values = parts["crow_indices"], parts["col_indices"], parts["values"]
        matrix = torch.sparse_csr_tensor(crow, col, values, size, check_invariants=True)
        assert torch.equal(matrix.to_dense().view(shape), dense[name])
    assert tensors.keys() == {f"unmasked/{name}" for name in dense if name not in ticket.masks}


def test_csr_needs_no_configuration_and_keeps_what_is_not_masked(tmp_path: Path) -> None:
    mask = sparsify(nn.Linear(5, 3))
    mask.step(0.5)
    tensors = safetensors.torch.load_file(exported(tmp_path, Ticket.of(mask), "csr"))
    assert torch.equal(tensors["unmasked/bias"], mask.model.bias)  # type: ignore[arg-type]  # a parameter
    assert tensors["weight/values"].tolist() == mask.weights()["weight"][mask.masks()["weight"]].tolist()


# Programs

PROGRAMS = [
    ("gcn", 1, 1),
    *(pytest.param(arch, 2, 1, marks=pytest.mark.slow if arch in ("gcn", "gat") else []) for arch in ARCHS),
    ("gat", 3, 4),
]


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9
@pytest.mark.parametrize(("arch", "depth", "heads"), PROGRAMS)
def test_a_program_runs_on_any_graph(arch: str, depth: int, heads: int, tmp_path: Path) -> None:
    config = config_of(arch, depth, heads)
    ticket = ticket_of(config)
    path = exported(tmp_path, ticket, "torch-export")
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    with torch.no_grad():
        for x, edge_index in (graph(30, 90), graph(200, 1000, seed=1), graph(5, 2, seed=2), graph(9, 0, seed=3)):
            expected = our_outputs(ticket, config, x, edge_index)
            torch.testing.assert_close(program(x, edge_index), expected, rtol=1e-5, atol=1e-5)


# From other packages, which an installation does not include.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("arch", ARCHS)
def test_an_onnx_model_runs_on_any_graph(arch: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime: Any = pytest.importorskip("onnxruntime")
    config = config_of(arch)
    ticket = ticket_of(config)
    session = runtime.InferenceSession(exported(tmp_path, ticket, "onnx").read_bytes())
    for x, edge_index in (graph(30, 90), graph(200, 1000, seed=1), graph(9, 0, seed=3)):
        (logits,) = session.run(["logits"], {"x": x.numpy(), "edge_index": edge_index.numpy()})
        expected = our_outputs(ticket, config, x, edge_index)
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-5, atol=1e-5)


# Refusals


def refused(folder: Path, ticket: Ticket, kind: Format) -> str:
    """The one line with which an export is refused; nothing is written."""
    path = saved(folder, ticket)
    with pytest.raises(InputError) as caught:
        export(path, kind, folder / "out")
    assert list(folder.iterdir()) == [path]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["state-dict", "torch-export"])
def test_networks_that_pyg_does_not_have(kind: Format, tmp_path: Path) -> None:
    message = refused(tmp_path, ticket_of(config_of("gin-paper")), kind)
    assert "PyG has no class with gin-paper's ReLU" in message
    assert message.endswith("allowed for this ticket is --format csr")
    config = config_of("gcn")
    ticket = Ticket.of(sparsify(GraphNetwork("gcn", 1, 2, 12)), config.to_dict())
    assert "PyG has no class with OGB's atom encoder" in refused(tmp_path, ticket, kind)
    ticket = Ticket.of(sparsify(nn.Linear(3, 2)))
    assert "a ticket without a configuration" in refused(tmp_path, ticket, kind)
    ticket = Ticket.of(sparsify(nn.Linear(3, 2)), config.to_dict())
    misfit = "does not fit the network that it describes ('bias' is in one of them only)"
    assert misfit in refused(tmp_path, ticket, kind)
    ticket = Ticket.of(sparsify(network_of(config_of("gcn", depth=3))), config.to_dict())
    assert "does not fit the network that it describes" in refused(tmp_path, ticket, kind)


def test_onnx_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    message = refused(tmp_path, ticket_of(config_of("gcn")), "onnx")
    assert message == "--format is onnx, which needs the package(s) onnxscript: pip install them"


@pytest.mark.parametrize("kind", FORMATS)
def test_an_existing_file_is_left_alone(kind: Format, tmp_path: Path) -> None:
    path = saved(tmp_path, ticket_of(config_of("gcn")))
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out, which exists; allowed is a new file"):
        export(path, kind, tmp_path / "out")
    with pytest.raises(InputError, match="is no folder; allowed is a new file in one that exists"):
        export(path, kind, tmp_path / "none" / "out")
    assert (tmp_path / "out").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_that_are_not_the_tickets(tmp_path: Path) -> None:
    ticket = ticket_of(config_of("gcn"))
    ticket.fingerprint = "0" * 64
    assert "do not have the ticket's fingerprint" in refused(tmp_path, ticket, "csr")
    assert "do not have the ticket's fingerprint" in refused(tmp_path, ticket, "state-dict")
