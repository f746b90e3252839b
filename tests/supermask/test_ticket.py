from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import threading
import zlib
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
from ugts_dist.supermask import coding
from ugts_dist.supermask.ticket_dictionary import DICTIONARY
from ugts_dist.supermask.ticket_file import read_ticket_file, write_ticket_file
from ugts_dist.supermask.weights import fingerprint
from ugts_dist.tensor_file import write_tensor_file

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
    Ticket.of(searched("linear"), {"model": {"depth": 2}}, {"test": 0.8125}, {"epochs": 3}).save(path)
    return path


def content(ticket: Ticket) -> tuple[Any, ...]:
    """The whole content of a ticket, in a form that can be compared."""
    tensors = [(name, value.dtype, value.tolist()) for name, value in sorted((ticket.masks | ticket.unmasked).items())]
    told = ticket.config, ticket.metrics, ticket.provenance
    return ticket.recipe, ticket.gains, ticket.scales, tensors, ticket.fingerprint, *told


# Round trips


@pytest.mark.parametrize("network", ["linear", "gcn of two layers", "gat with batch norm", "gin", "gat", "sage"])
def test_a_rebuilt_network_has_the_same_outputs_bit_for_bit(network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mask = searched(network) if network not in ("gin", "gat", "sage") else _uncalibrated(network)
    expected = mask.model(X, EDGES)
    Ticket.of(mask, metrics={"valid": 0.1}).save(tmp_path / "a")
    torch.manual_seed(1)  # the new network begins elsewhere
    plain = Ticket.load(tmp_path / "a").apply(NETWORKS[network]())
    assert not any(module.training for module in plain.modules())
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
from ugts_dist import Ticket, sparsify
torch.set_num_threads(1)
make = NETWORKS["gat with batch norm"]
mask = sparsify(make(), seed=3, rescale=True)
mask.model.load_state_dict(torch.load(sys.argv[2], weights_only=True))
for ticket in (Ticket.load(sys.argv[1]), Ticket.of(mask)):
    print([value.hex() for value in ticket.apply(make())(*graph()).flatten().tolist()])
"""


def test_a_fresh_process_finds_the_same_outputs_by_a_ticket_and_by_the_models_state(tmp_path: Path) -> None:
    mask = searched("gat with batch norm")
    Ticket.of(mask).save(tmp_path / "a.ticket")
    torch.save(mask.model.state_dict(), tmp_path / "a.pt")
    done = subprocess.run(
        [sys.executable, "-c", REBUILD, str(tmp_path / "a.ticket"), str(tmp_path / "a.pt")],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = str([value.hex() for value in mask.model(X, EDGES).flatten().tolist()])
    assert done.stdout.splitlines() == [expected, expected]


def test_sparsity_and_metadata(saved: Path) -> None:
    ticket, mask = Ticket.load(saved), searched("linear")
    assert ticket.sparsity == pytest.approx(mask.sparsity(), abs=1e-12)
    assert ticket.config == {"model": {"depth": 2}}
    assert ticket.metrics == {"test": 0.8125}
    assert ticket.provenance == {"epochs": 3}
    assert ticket.fingerprint == mask.fingerprint()[:16]


def test_a_ticket_keeps_what_it_was_told(tmp_path: Path) -> None:
    told = {"model": {"depth": 2}}
    ticket = Ticket.of(searched("linear"), told, None, told)
    told["model"]["depth"] = 3
    ticket.save(tmp_path / "a")
    loaded = Ticket.load(tmp_path / "a")
    assert loaded.config == loaded.provenance == {"model": {"depth": 2}}


def test_a_ticket_is_saved_by_a_thread_while_the_search_goes_on(tmp_path: Path) -> None:
    mask = searched("gcn of two layers")
    expected = mask.model(X, EDGES)
    thread = threading.Thread(target=Ticket.of(mask).save, args=(tmp_path / "a",))
    mask.step(0.1)
    thread.start()
    mask.step(0.3)
    thread.join()
    plain = Ticket.load(tmp_path / "a").apply(NETWORKS["gcn of two layers"]()).eval()
    assert torch.equal(plain(X, EDGES), expected)


def test_the_fingerprint_is_computed_again_only_after_a_gain() -> None:
    mask = sparsify(Plain())
    before = mask.fingerprint()
    mask.step(0.5)
    assert mask.fingerprint() == before == fingerprint(mask.weights())
    mask.scale("first.weight", 2.0)
    assert mask.fingerprint() == fingerprint(mask.weights()) != before


# Size and format


def test_the_same_ticket_is_the_same_bytes(tmp_path: Path) -> None:
    ticket = Ticket.of(searched("linear"), {"model": {}}, {"test": 1.0})
    for name in "abcd":
        ticket.save(tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
    Ticket.load(tmp_path / "a").save(tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_ticket_takes_its_entropy_and_a_short_header(tmp_path: Path) -> None:
    mask = sparsify(nn.Sequential(nn.Linear(1433, 256, bias=False), nn.Linear(256, 7, bias=False)), rescale=True)
    mask.step(0.99)
    size = Ticket.of(mask).save(tmp_path / "a")
    assert size == (tmp_path / "a").stat().st_size
    kept = [int(value.sum()) for value in mask.masks().values()]
    entropy = coding.entropy_bytes([1433 * 256, 256 * 7], kept)
    _, tensors = read_ticket_file(tmp_path / "a")
    assert len(tensors["masks"]) < 1.02 * entropy
    assert size < 1.02 * entropy + 250


def test_a_weight_of_a_deep_network_adds_little_to_the_header(tmp_path: Path) -> None:
    mask = sparsify(nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(100)]), rescale=True)
    for name in mask.weights():
        mask.scale(name, 1.2345678901)
    mask.step(0.9)
    ticket = Ticket.of(mask)
    size = ticket.save(tmp_path / "a")
    assert size < 1.02 * coding.entropy_bytes([4096] * 100, [int(m.sum()) for m in ticket.masks.values()]) + 250 + 4000


def test_the_file_is_as_documented(saved: Path) -> None:
    mask = searched("linear")
    with safetensors.safe_open(saved, framework="pt") as file:
        assert file.metadata() is None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    packed = tensors["ugts"].numpy().tobytes()
    inflater = zlib.decompressobj(-15, zdict=DICTIONARY)
    text = inflater.decompress(packed[9:])
    digest = hashlib.sha256(text + f"maskstorch.uint8({len(inflater.unused_data)},)".encode() + inflater.unused_data)
    for name, value in sorted(mask.unmasked().items()):
        digest.update(f"unmasked/{name}{value.dtype}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    assert packed[:9] == b"\x04" + digest.digest()[:8]
    header = json.loads(text)
    weights = header.pop("weights")
    assert header.keys() == {"seed", "weight_init", "fingerprint", "config", "metrics", "provenance"}
    assert (header["seed"], header["weight_init"]) == (3, "kaiming-uniform")
    assert header["fingerprint"] == mask.fingerprint()[:16]
    for name, (shape, kept, gain, scale) in weights.items():
        assert shape == list(mask.masks()[name].shape)
        assert kept == int(mask.masks()[name].sum())
        assert float.fromhex(gain) == mask.gains()[name]
        assert float.fromhex(scale) == mask.scales()[name]
    assert tensors.keys() == {"ugts", *(f"unmasked/{name}" for name in mask.unmasked())}
    sizes, kept = [math.prod(weight[0]) for weight in weights.values()], [weight[1] for weight in weights.values()]
    masks = coding.decode(inflater.unused_data, sizes, kept)
    for name, bits in zip(weights, masks, strict=True):
        assert bits.tolist() == mask.masks()[name].flatten().tolist()


def test_masks_of_nothing_and_of_everything_are_saved(tmp_path: Path) -> None:
    mask = sparsify(Plain())
    ticket = Ticket.of(mask)  # keeps all
    ticket.masks["first.weight"] = torch.zeros_like(ticket.masks["first.weight"])
    ticket.save(tmp_path / "a")
    assert content(Ticket.load(tmp_path / "a")) == content(ticket)


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


def rewrite(path: Path, change: dict[str, Any], tensors: dict[str, Tensor | None] | None = None) -> None:
    """A file with another header or other tensors, and the right checksum for them; None removes an entry."""
    header, held = read_ticket_file(path)
    header = {key: value for key, value in (header | change).items() if value is not ...}
    write_ticket_file(
        path, header, {key: value for key, value in (held | (tensors or {})).items() if value is not None}
    )


def weights_of(path: Path, **change: Any) -> dict[str, Any]:
    """The weights of a ticket's header, with another entry for the first: shape, number kept, gain, scale."""
    header, _ = read_ticket_file(path)
    named = dict(zip(("shape", "kept", "gain", "scale"), header["weights"]["first.weight"], strict=True))
    return {"weights": header["weights"] | {"first.weight": list((named | change).values())}}


def test_rewriting_alone_is_no_damage(saved: Path) -> None:
    before = content(Ticket.load(saved))
    rewrite(saved, {})
    assert content(Ticket.load(saved)) == before


@pytest.mark.parametrize("version", [0, 1, 5, 255])
def test_other_versions_are_refused(saved: Path, version: int) -> None:
    rewrite(saved, {"format_version": version})
    assert f"ticket of version {version}, allowed are 2 to 4" in refused(saved)


@pytest.mark.parametrize("version", [2, 3])
def test_older_versions_are_not_packed_as_the_present_one_is(saved: Path, version: int) -> None:
    rewrite(saved, {"format_version": version})
    assert f"version {version} without metadata" in refused(saved)


@pytest.mark.parametrize("version", [0, 1, 4, 5, "2", 2.0, True, None, [2], ...])
def test_other_versions_in_a_file_as_older_programs_wrote_it_are_refused(saved: Path, version: object) -> None:
    header, tensors = read_ticket_file(saved)
    told = header | {"format_version": version, "fingerprint": "0" * 64}
    write_tensor_file(saved, tensors, {key: value for key, value in told.items() if value is not ...}, "ugts")
    shown = None if version is ... else version
    expected = "version 4 with metadata" if version == 4 else f"ticket of version {shown!r}, allowed are 2 to 4"
    assert expected in refused(saved)


def test_a_header_that_does_not_end_is_refused(saved: Path) -> None:
    with safetensors.safe_open(saved, framework="pt") as file:
        packed = file.get_tensor("ugts")
    safetensors.torch.save_file({"ugts": packed[:40]}, saved)
    assert "its header does not end" in refused(saved)


def test_a_header_that_unpacks_to_gigabytes_is_refused_at_its_limit(saved: Path) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(compressor.compress(b" " * 2**20) for _ in range(2**9)) + compressor.flush()
    packed = torch.frombuffer(bytearray(b"\x04" + bytes(8) + bomb), dtype=torch.uint8)
    safetensors.torch.save_file({"ugts": packed}, saved)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "or is too large" in refused(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17, "kilobytes"


def test_a_ticket_of_the_first_version_is_refused_as_such(tmp_path: Path) -> None:
    """A file as that version wrote it: one bit per weight, and the keys of that time."""
    header: dict[str, Any] = {
        "format_version": 1,
        "seed": 0,
        "weight_init": "kaiming-uniform",
        "fingerprint": "0" * 64,
        "weights": {"weight": {"shape": [2, 8], "gain": "0x1.0000000000000p+0", "scale": "0x1.0000000000000p+0"}},
        "config": {},
        "metrics": {},
    }
    mask = torch.tensor([0b10101010, 0b11111111], dtype=torch.uint8)
    hashed = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode())
    hashed.update(b"mask/weighttorch.uint8(2,)" + mask.numpy().tobytes())
    header["sha256"] = hashed.hexdigest()
    metadata = {"ugts": json.dumps(header, separators=(",", ":"))}
    safetensors.torch.save_file({"mask/weight": mask}, tmp_path / "a", metadata)
    assert refused(tmp_path / "a") == f"{tmp_path / 'a'}: ticket of version 1, allowed are 2 to 4"


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [8, 6]},
        {"shape": [8, 50]},
        {"shape": [-8, -5]},
        {"shape": [8, 0]},
        {"shape": [40]},
        {"shape": []},
        {"shape": [8.0, 5]},
        {"shape": [40, True]},
        {"shape": [8, "5"]},
        {"shape": [8, 5, *[1] * 15]},
        {"shape": "8, 5"},
        {"shape": None},
        {"shape": [2**63, 2**63]},
        {"kept": -1},
        {"kept": 41},
        {"kept": 3},
        {"kept": 5.0},
        {"kept": True},
        {"kept": "12"},
        {"gain": "much"},
        {"gain": None},
        {"gain": 1.5},
        {"gain": "nan"},
        {"gain": "inf"},
        {"gain": "0x1p+9999"},
        {"gain": "0x1p+1000"},
        {"gain": "0x1p+65"},
        {"gain": "0x1p-65"},
        {"gain": "0x0p+0"},
        {"scale": "0x1p+1000"},
        {"scale": "0x1p+21"},
        {"scale": "-0x1p+0"},
        {"scale": "0x0p+0"},
        {"scale": "0x"},
        {"scale": []},
        {"more": 1},
    ],
)
def test_wrong_entries_of_a_weight_are_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, weights_of(saved, **change))
    assert "damaged ticket" in refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [1, 2]},
        {"weights": {}},
        {"weights": {"first.weight": {"shape": [8, 5]}}},
        {"weights": {"first.weight": None}},
        {"seed": "one"},
        {"seed": True},
        {"seed": 3.0},
        {"seed": 2**64},
        {"seed": 10**4000},
        {"weight_init": "xavier"},
        {"weight_init": ["uniform"]},
        {"fingerprint": ""},
        {"fingerprint": "0" * 15},
        {"fingerprint": "g" * 16},
        {"fingerprint": "0" * 64},
        {"fingerprint": 0},
        {"config": 3},
        {"config": None},
        {"metrics": []},
        {"metrics": {"test": "0.5"}},
        {"metrics": {"test": True}},
        {"metrics": {"test": None}},
        {"metrics": {"test": 10**4000}},
        {"provenance": "mine"},
        {"more": 1},
        *({key: ...} for key in ("seed", "weight_init", "fingerprint", "weights", "config", "metrics", "provenance")),
    ],
)
def test_wrong_headers_are_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, change)
    message = refused(saved)
    assert "damaged ticket" in message
    assert len(message) < len(str(saved)) + 300


@pytest.mark.parametrize(
    "tensors",
    [
        {"masks": torch.zeros(0, dtype=torch.uint8)},
        {"masks": torch.zeros(500, dtype=torch.uint8)},
        {"mask/first.weight": torch.zeros(5, dtype=torch.uint8)},
    ],
)
def test_other_tensors_are_refused(saved: Path, tensors: dict[str, Tensor | None]) -> None:
    rewrite(saved, {}, tensors)
    assert "damaged ticket" in refused(saved)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"ugts": torch.zeros(0, dtype=torch.uint8)},
        {"ugts": torch.full((50,), 4, dtype=torch.int16)},
        {"ugts": torch.full((50, 1), 4, dtype=torch.uint8)},
        {"ugts": torch.full((50,), 4, dtype=torch.uint8)},
        {"ugts": torch.full((50,), 4, dtype=torch.uint8), "masks": torch.zeros(5, dtype=torch.uint8)},
    ],
)
def test_files_without_what_a_ticket_is_packed_into_are_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(tensors, tmp_path / "a")
    refused(tmp_path / "a")


def test_the_dictionary_of_the_format_is_what_it_was() -> None:
    """Every file of version 4 is read by it."""
    assert hashlib.sha256(DICTIONARY).hexdigest() == "d8660f18b17fdaa49b46a958f00051ee7cc2efb8a843555d0a969f3d7f9d0171"


@pytest.mark.parametrize("shape", [[2**20, 2**20], [2**39, 2**39], [2**15, 2**16 + 1]])
@pytest.mark.parametrize("kept", [0, 1, 2**30])
def test_a_small_file_that_declares_an_enormous_network_is_refused(saved: Path, shape: list[int], kept: int) -> None:
    rewrite(saved, weights_of(saved, shape=shape, kept=kept))
    size = len(saved.read_bytes())
    message = refused(saved)
    assert f"it declares {math.prod(shape) + 24} weights, allowed are " in message
    assert int(message.partition("allowed are ")[2].split()[0]) < 2**26 + 2**13 * size


def test_the_largest_gain_and_scale_leave_the_weights_finite(saved: Path) -> None:
    mask = sparsify(Plain())
    mask.scale("first.weight", 2.0**64)
    mask.scale("second.weight", 2.0**-64)
    ticket = Ticket.of(mask)
    ticket.scales = dict.fromkeys(ticket.scales, 2.0**20)
    ticket.save(saved)
    plain = Ticket.load(saved).apply(Plain())
    weights = [plain.get_parameter(name) for name in ticket.masks]
    assert all(bool(weight.isfinite().all()) and bool((weight != 0).all()) for weight in weights)


@pytest.mark.parametrize(("size", "kept"), [(2**26, 0), (2**26, 2**26), (2**26, 1)])
def test_large_masks_that_take_no_bytes_are_loaded(tmp_path: Path, size: int, kept: int) -> None:
    ticket = Ticket.of(sparsify(nn.Linear(8, 4, bias=False)))
    mask = torch.zeros(size, dtype=torch.bool)
    mask[:kept] = True
    ticket.masks = {"weight": mask.view(2**13, 2**13)}
    assert ticket.save(tmp_path / "a") < 1000
    loaded = Ticket.load(tmp_path / "a").masks["weight"]
    assert int(loaded.sum()) == kept


def test_what_a_byte_may_hold_is_more_than_what_sparse_masks_put_into_it() -> None:
    """At sparsity 0.9999, whatever the size of the network, and down to one weight in a million for 2^26 weights."""
    for size in (10**5, 10**7, 10**9, 2**31):
        assert 2**26 + 2**13 * coding.entropy_bytes([size], [size // 10_000]) > size
    assert 2**26 + 2**13 * coding.entropy_bytes([2**26], [67]) > 2**26


@pytest.mark.parametrize("kept", [0, 3, 2**29])
def test_refusing_an_enormous_network_takes_no_memory(saved: Path, kept: int) -> None:
    rewrite(saved, weights_of(saved, shape=[2**15, 2**15], kept=kept))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "it declares 1073741848 weights, allowed are" in refused(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14, "kilobytes"


def test_the_limit_of_weights_is_the_callers(saved: Path) -> None:
    total = 8 * FEATURES + 3 * 8
    assert sum(mask.numel() for mask in Ticket.load(saved, max_weights=total).masks.values()) == total
    with pytest.raises(InputError, match=f"declares {total} weights, allowed are {total - 1}"):
        Ticket.load(saved, max_weights=total - 1)


@pytest.mark.parametrize("metric", [float("nan"), float("inf"), True, "0.5"])
def test_metrics_that_would_be_refused_are_not_saved(tmp_path: Path, metric: Any) -> None:
    with pytest.raises(ValueError, match=r"metric 'test' is"):
        Ticket.of(sparsify(Plain()), metrics={"test": metric}).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_checksum_of_something_else_is_refused(saved: Path) -> None:
    with safetensors.safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    held["unmasked/first.bias"] = held["unmasked/first.bias"] + 1  # numbers that could well be
    safetensors.torch.save_file(held, saved, metadata)
    assert "checksum" in refused(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "do not have the ticket's fingerprint"),
        ({"weight_init": "uniform"}, "do not have the ticket's fingerprint"),
        ({"fingerprint": "0" * 16}, "do not have the ticket's fingerprint"),
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
        ValueError, match=r"^(the model does not fit the ticket: [^\n]*|the model has no parameter with two[^\n]*)$"
    ):
        Ticket.load(saved).apply(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        (
            {"bias": False},
            {},
            r"the ticket has no convs\.0\.bias, convs\.1\.bias, convs\.2\.bias, convs\.3\.bias and 1 more; "
            r"build the model with bias=False, as the ticket's was",
        ),
        (
            {},
            {"bias": False},
            r"the model has no convs\.0\.bias, .* and 1 more; build the model with bias=True, as the",
        ),
        ({"norm": "batch_norm"}, {}, r"the model has no norms\.0\.module\.weight, norms\.0\.module\.bias, .* more"),
        ({"bias": False}, {"norm": "batch_norm"}, r"the ticket has no convs\.0\.bias, .* more"),
    ],
)
def test_parameters_that_differ_are_named(made: dict[str, Any], given: dict[str, Any], message: str) -> None:
    ticket = Ticket.of(sparsify(pyg.GCN(FEATURES, 6, 5, 3, **made)))
    with pytest.raises(ValueError, match=rf"^the model does not fit the ticket: {message}[^\n]*$"):
        ticket.apply(pyg.GCN(FEATURES, 6, 5, 3, **given))


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
