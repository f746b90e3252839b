from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.supermask.networks import FEATURES, NETWORKS, Plain, graph, randomise
from ugts_dist import InputError, Supermask, Ticket, calibrate, sparsify
from ugts_dist.supermask.ticket import _checksum

X, EDGES = graph()


def searched(network: str, sparsity: float = 0.7, **options: Any) -> Supermask:
    """A mask after some training, with calibration and statistics of batch norm."""
    mask = sparsify(randomise(NETWORKS[network]()), seed=3, rescale=True, **options)
    calibrate(mask, lambda: mask.model(X, EDGES))
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)
    for _ in range(3):
        mask.step(sparsity)
        optimizer.zero_grad()
        mask.model.train()(X, EDGES).square().sum().backward()
        optimizer.step()
    mask.step(sparsity)
    mask.model.eval()
    return mask


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.ticket"
    Ticket.of(searched("linear"), {"model": {"depth": 2}}, {"test": 0.8125}).save(path)
    return path


def content(ticket: Ticket) -> tuple[Any, ...]:
    """All that a ticket holds, in a form that can be compared."""
    tensors = [(name, value.dtype, value.tolist()) for name, value in sorted((ticket.masks | ticket.unmasked).items())]
    return ticket.recipe, ticket.gains, ticket.scales, tensors, ticket.fingerprint, ticket.config, ticket.metrics


# Round trips


@pytest.mark.parametrize("network", ["linear", "gcn of two layers", "gat with batch norm", "gin", "gat", "sage"])
def test_a_rebuilt_network_has_the_same_outputs_bit_for_bit(network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mask = searched(network) if network not in ("gin", "gat", "sage") else _uncalibrated(network)
    expected = mask.model(X, EDGES)
    Ticket.of(mask, metrics={"valid": 0.1}).save(tmp_path / "a")
    torch.manual_seed(1)  # the new network begins elsewhere
    plain = Ticket.load(tmp_path / "a").apply(NETWORKS[network]()).eval()
    assert torch.equal(plain(X, EDGES), expected)
    assert all("parametrizations" not in name for name in plain.state_dict())
    assert content(Ticket.load(tmp_path / "a")) == content(Ticket.of(mask, metrics={"valid": 0.1}))


def _uncalibrated(network: str) -> Supermask:
    mask = sparsify(randomise(NETWORKS[network]()), seed=3, weight_init="kaiming-normal")
    mask.step(0.7)
    return mask


def test_a_ticket_does_not_change_with_the_model_that_it_came_from(tmp_path: Path) -> None:
    mask = searched("linear")
    ticket = Ticket.of(mask)
    before = content(ticket)
    mask.step(0.1)
    mask.model.train()(X, EDGES)  # moves the statistics of batch norm
    assert content(ticket) == before


REBUILD = """
import sys, torch
from tests.supermask.networks import NETWORKS, graph
from ugts_dist import Ticket
torch.set_num_threads(1)
output = Ticket.load(sys.argv[1]).apply(NETWORKS["gat with batch norm"]()).eval()(*graph())
print([value.hex() for value in output.flatten().tolist()])
"""


def test_a_fresh_process_finds_the_same_outputs(tmp_path: Path) -> None:
    mask = searched("gat with batch norm")
    Ticket.of(mask).save(tmp_path / "a.ticket")
    done = subprocess.run(
        [sys.executable, "-c", REBUILD, str(tmp_path / "a.ticket")],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([value.hex() for value in mask.model(X, EDGES).flatten().tolist()])


def test_sparsity_and_metadata(saved: Path) -> None:
    ticket, mask = Ticket.load(saved), searched("linear")
    assert ticket.sparsity == pytest.approx(mask.sparsity(), abs=1e-12)
    assert ticket.config == {"model": {"depth": 2}}
    assert ticket.metrics == {"test": 0.8125}
    assert ticket.fingerprint == mask.fingerprint()


# Size and format


def test_the_same_ticket_is_the_same_bytes(tmp_path: Path) -> None:
    ticket = Ticket.of(searched("linear"), {"model": {}}, {"test": 1.0})
    for name in "abcd":
        ticket.save(tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
    Ticket.load(tmp_path / "a").save(tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_weight_takes_one_bit(tmp_path: Path) -> None:
    mask = sparsify(nn.Sequential(nn.Linear(1001, 101, bias=False), nn.Linear(101, 7, bias=False)))
    mask.step(0.9)
    size = Ticket.of(mask).save(tmp_path / "a")
    bits = -(-1001 * 101 // 8) - (-101 * 7 // 8)
    assert size == (tmp_path / "a").stat().st_size
    assert bits <= size < bits + 1200
    with safetensors.safe_open(tmp_path / "a", framework="pt") as file:
        packed = file.get_tensor("mask/1.weight")
    assert packed.dtype == torch.uint8
    # Most significant bit first, the last byte filled up with zeros; unpacked here by hand.
    found = [bool(byte >> (7 - bit) & 1) for byte in packed.tolist() for bit in range(8)]
    assert found[: 7 * 101] == mask.masks()["1.weight"].flatten().tolist()
    assert not any(found[7 * 101 :])


# Damage


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        Ticket.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.ticket")
    refused(tmp_path)


def test_every_truncation_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    for length in [*range(0, 64), *range(64, len(data), 37), len(data) - 1]:
        saved.write_bytes(data[:length])
        refused(saved)


def test_anything_appended_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved)


def test_no_flipped_bit_goes_unnoticed(saved: Path) -> None:
    """Bytes all over the file: lengths, header, names, masks, statistics."""
    data = saved.read_bytes()
    before = content(Ticket.load(saved))
    refusals = 0
    for number, position in enumerate([*range(0, 16), *range(16, len(data), 3)]):
        damaged = bytearray(data)
        damaged[position] ^= 1 << number % 8
        saved.write_bytes(damaged)
        try:
            ticket = Ticket.load(saved)
        except InputError:
            refused(saved)
            refusals += 1
        else:
            assert content(ticket) == before, f"byte {position} changed the ticket"  # padding only
    assert refusals > 0.9 * len(data) / 3


@pytest.mark.parametrize(
    "data", [b"", b"ticket", b"\0" * 100, b"\xff" * 100, b"PK\x03\x04" + b"x" * 500, bytes(range(256))]
)
def test_garbage_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    refused(tmp_path / "a")


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2, 2)}, tmp_path / "a")
    assert "not a ticket" in refused(tmp_path / "a")
    safetensors.torch.save_file({"weight": torch.zeros(2, 2)}, tmp_path / "a", {"format": "pt"})
    assert "not a ticket" in refused(tmp_path / "a")


def rewrite(path: Path, change: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> None:
    """A file with another header or other tensors, and the right checksum for them."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["ugts"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = {key: value for key, value in (header | change).items() if value is not None and key != "sha256"}
    held |= tensors or {}
    safetensors.torch.save_file(held, path, {"ugts": json.dumps(header | {"sha256": _checksum(header, held)})})


def weights_of(path: Path, **change: Any) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        weights = json.loads(file.metadata()["ugts"])["weights"]
    weights["first.weight"] |= change
    return {"weights": weights}


def test_rewriting_alone_is_no_damage(saved: Path) -> None:
    before = content(Ticket.load(saved))
    rewrite(saved, {})
    assert content(Ticket.load(saved)) == before


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_versions_are_refused(saved: Path, version: object) -> None:
    rewrite(saved, {"format_version": version})
    message = refused(saved)
    if version is not None:
        assert f"ticket of version {version}, allowed is 1" in message


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [8, 6]},
        {"shape": [8, 50]},
        {"shape": [-1, 5]},
        {"shape": "8, 5"},
        {"gain": "much"},
        {"gain": None},
        {"gain": 1.5},
        {"scale": "0x"},
    ],
)
def test_wrong_entries_of_a_weight_are_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, weights_of(saved, **change))
    refused(saved)


@pytest.mark.parametrize(
    "change", [{"weights": [1, 2]}, {"weights": None}, {"seed": "one"}, {"config": 3}, {"metrics": None}]
)
def test_wrong_headers_are_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, change)
    refused(saved)


def test_a_mask_of_another_type_is_refused(saved: Path) -> None:
    rewrite(saved, {}, {"mask/first.weight": torch.zeros(5, dtype=torch.int16)})
    refused(saved)


def test_a_checksum_of_something_else_is_refused(saved: Path) -> None:
    with safetensors.safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    held["mask/first.weight"] = 255 - held["mask/first.weight"]  # a mask that could well be
    safetensors.torch.save_file(held, saved, metadata)
    assert "checksum" in refused(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "do not have the ticket's fingerprint"),
        ({"weight_init": "uniform"}, "do not have the ticket's fingerprint"),
        ({"fingerprint": "0" * 64}, "do not have the ticket's fingerprint"),
        ({"weight_init": "xavier"}, "unknown initialisation 'xavier'"),
    ],
)
def test_weights_that_are_not_the_tickets_are_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    rewrite(saved, change)
    with pytest.raises(ValueError, match=message):
        Ticket.load(saved).apply(Plain())


def test_a_gain_that_is_not_the_tickets_is_refused(saved: Path) -> None:
    rewrite(saved, weights_of(saved, gain=(1.25).hex()))
    with pytest.raises(ValueError, match="fingerprint"):
        Ticket.load(saved).apply(Plain())


class NoBias(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(8, 3, bias=False)


class WiderNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(9)


class Renamed(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.third = self.second
        del self.second


@pytest.mark.parametrize("model", [NoBias(), WiderNorm(), Renamed(), nn.Linear(FEATURES, 8), nn.BatchNorm1d(8)])
def test_other_models_are_refused_and_left_as_they_were(saved: Path, model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"^[^\n]*(differ from the ticket's in name or shape|no parameter with two)[^\n]*$"
    ):
        Ticket.load(saved).apply(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_masked_model_is_refused(saved: Path) -> None:
    model = Plain()
    sparsify(model)
    with pytest.raises(ValueError, match="masked already"):
        Ticket.load(saved).apply(model)


# Saving that fails


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_what_was_there(saved: Path, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, folder = saved.read_bytes(), sorted(saved.parent.iterdir())

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(OSError, match="No space left"):
            Ticket.of(searched("linear", 0.2)).save(saved)
        with pytest.raises(OSError, match="No space left"):
            Ticket.of(searched("linear", 0.2)).save(saved.with_name("new.ticket"))
    assert saved.read_bytes() == before
    assert sorted(saved.parent.iterdir()) == folder
    Ticket.of(searched("linear", 0.2)).save(saved)
    assert saved.read_bytes() != before


def test_a_ticket_replaces_an_older_one_whole(saved: Path) -> None:
    Ticket.of(sparsify(pyg.GCNConv(2, 1))).save(saved)
    assert Ticket.load(saved).masks.keys() == {"lin.weight"}
    assert sorted(saved.parent.iterdir()) == [saved]


def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Ticket.of(sparsify(nn.Linear(2, 2))).save(tmp_path / "none" / "a.ticket")
    assert not list(tmp_path.iterdir())
