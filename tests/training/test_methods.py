"""Saved networks that come back, and files that describe other networks than they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ugts_dist import InputError, Ticket, sparsify
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.config import Config
from ugts_dist.models import GNN
from ugts_dist.models.graph_level import GraphNetwork, Network
from ugts_dist.tensor_file import read_tensor_file, write_tensor_file

ARCHS = ["gcn", "gin", "gin-paper", "gat", "sage"]


def config(**model: Any) -> Config:
    return Config.from_dict({"model": {"depth": 3, "width": 16, "heads": 2} | model}, "test")


def network(settings: Config, outputs: int = 4, graph_level: bool = False) -> Network:
    m = settings.model
    if graph_level:
        return GraphNetwork(m.arch, outputs, m.depth, m.width, m.heads)
    return GNN(m.arch, 5, outputs, m.depth, m.width, m.heads)


def save(path: Path, settings: Config, model: Network) -> dict[str, torch.Tensor]:
    """What the model computes with, which is saved as a ticket or as a dense network."""
    if path.suffix == ".ticket":
        mask = sparsify(model)
        mask.step(0.5)
        ticket = Ticket.of(mask, settings.portable(), {"valid": 0.5})
        ticket.save(path)
        return {name: weight * ticket.masks[name] for name, weight in ticket.weights().items()} | ticket.unmasked
    write_tensor_file(path, model.state_dict(), {"config": settings.portable(), "metrics": {"valid": 0.5}}, "dense")
    return model.state_dict()


@pytest.fixture(params=["a.ticket", "a.safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_saved(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("graph_level", [False, True])
@pytest.mark.parametrize("outputs", [1, 4])
def test_every_network_comes_back(path: Path, arch: str, depth: int, graph_level: bool, outputs: int) -> None:
    settings = config(arch=arch, depth=depth)
    expected = save(path, settings, network(settings, outputs, graph_level))
    saved = load_saved(path)
    assert (saved.config, saved.metrics) == (settings, {"valid": 0.5})
    state = saved.fill(network(settings, outputs, graph_level)).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize("arch", ["gcn", "gin", "gat", "sage"])
def test_networks_of_one_layer_come_back(path: Path, arch: str) -> None:
    settings = config(arch=arch, depth=1)
    save(path, settings, network(settings))
    load_saved(path).fill(network(settings))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"depth": 10**4}, "model.depth is 10000, but it has 3 tensors"),
        ({"depth": 4}, "model.depth is 4, but it has 3 tensors"),
        ({"depth": 2}, "'convs.2.lin.weight' is in one of them only"),
        ({"width": 2**20}, "convs.0.lin.weight is of shape (16, 5)"),
        ({"width": 15, "heads": 1}, "convs.0.lin.weight is of shape (16, 5)"),
        ({"arch": "sage"}, "is in one of them only"),
        ({"arch": "gin"}, "is in one of them only"),
        ({"arch": "gat"}, "is in one of them only"),
    ],
)
def test_a_configuration_of_another_network_is_refused_before_it_is_built(
    path: Path, model: dict[str, Any], message: str
) -> None:
    save(path, config(**model), network(config()))
    assert message in refused(path)


def test_a_configuration_of_other_heads_is_refused(path: Path) -> None:
    save(path, config(arch="gat", heads=4), network(config(arch="gat")))
    assert "is of shape" in refused(path)


def test_a_network_for_other_data_is_refused_when_it_is_filled(path: Path) -> None:
    settings = config()
    save(path, settings, network(settings))
    with pytest.raises(InputError, match=r"^[^\n]*does not fit the network that it describes[^\n]*$"):
        load_saved(path).fill(network(settings, outputs=5))


@pytest.mark.parametrize(
    "change", [{"config": None}, {"config": []}, {"metrics": 3}, {"metrics": {"valid": "high"}}, {"metrics": None}]
)
def test_a_dense_network_that_tells_nothing_of_itself_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.safetensors"
    save(path, config(), network(config()))
    header, tensors = read_tensor_file(path, "dense", "")
    write_tensor_file(path, tensors, header | change, "dense")
    assert "without configuration or metrics" in refused(path)


def test_damage_to_a_dense_network_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, config(), network(config()))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # a weight
    path.write_bytes(data)
    assert "checksum is wrong" in refused(path)
