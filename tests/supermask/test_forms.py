"""Masks with more values than 0 and 1: tickets, states, ranks, banks."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.processes import spawn
from tests.supermask.networks import NETWORKS, graph, randomise
from tests.supermask.test_ticket import content, refused, rewrite
from ugts_dist import Supermask, Ticket, TicketBank, calibrate, sparsify
from ugts_dist.supermask import coding
from ugts_dist.supermask.frozen import frozen_places
from ugts_dist.supermask.ticket_file import read_ticket_file

X, EDGES = graph()
NETWORK = "gat with batch norm"
SIGNED: dict[str, Any] = {"signed": True, "ranking": "magnitude"}
FORMS: dict[str, dict[str, Any]] = {
    "coats": {"coats": 3},
    "many coats": {"coats": 64},
    "signed": SIGNED,
    "signed coats": {"coats": 3, **SIGNED},
    "frozen": {"pruned": 0.4, "locked": 0.1},
    "pruned": {"pruned": 0.25},
    "everything": {"coats": 4, **SIGNED, "pruned": 0.3, "locked": 0.05},
}


def searched(form: dict[str, Any], sparsity: float = 0.6, network: str = NETWORK) -> Supermask:
    """A mask after some training, with calibration and statistics of batch norm."""
    mask = sparsify(randomise(NETWORKS[network]()), seed=3, rescale=True, **form)
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


def whole(ticket: Ticket) -> tuple[Any, ...]:
    """The whole content of a ticket, in a form that can be compared."""
    return *content(ticket), ticket.form, {name: value.tolist() for name, value in ticket.levels.items()}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_rebuilt_network_has_the_same_outputs_bit_for_bit(form: dict[str, Any], tmp_path: Path) -> None:
    mask = searched(form)
    expected = mask.model(X, EDGES)
    ticket = Ticket.of(mask, {"model": {}}, {"test": 0.5})
    ticket.save(tmp_path / "a")
    loaded = Ticket.load(tmp_path / "a")
    assert whole(loaded) == whole(ticket)
    assert torch.equal(loaded.apply(NETWORKS[NETWORK]())(X, EDGES), expected)
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    effective = loaded.effective()
    for name, weight in mask.weights().items():
        level = (loaded.masks | loaded.levels)[name]
        assert torch.equal(loaded.masks[name], level != 0)
        torch.testing.assert_close(effective[name], weight * level * mask.scales()[name])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_bank_has_the_outputs_of_rebuilt_networks(form: dict[str, Any]) -> None:
    tickets = {"a": Ticket.of(searched(form)), "b": Ticket.of(searched(form, 0.3)), "c": Ticket.of(searched({}))}
    bank = TicketBank(NETWORKS[NETWORK](), {"a": tickets["a"]})
    for name in "bc":
        try:
            bank.add(name, tickets[name])
        except ValueError as error:  # only gains may differ, which a bank allows
            pytest.fail(str(error))
    for name in "abcab":
        assert torch.equal(bank(name, X, EDGES), tickets[name].apply(NETWORKS[NETWORK]())(X, EDGES))


def entropy_of(levels: Tensor) -> float:
    """The least bytes for independent values of these frequencies, from the frequencies themselves."""
    counts = levels.unique(return_counts=True)[1].double()
    return float((counts * (levels.numel() / counts).log2()).sum()) / 8


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_the_masks_take_at_most_a_percent_more_than_their_entropy(
    form: dict[str, Any], sparsity: float, tmp_path: Path
) -> None:
    mask = sparsify(nn.Linear(512, 512, bias=False), rescale=True, **form)
    sparsity = min(sparsity, 1.0 - mask.options.locked)
    mask.step(sparsity)
    Ticket.of(mask).save(tmp_path / "a")
    _, tensors = read_ticket_file(tmp_path / "a")
    level = (mask.masks() | mask.levels())["weight"].flatten()
    frozen = np.logical_or(*frozen_places(0, "weight", level.numel(), mask.options.form))
    # A mask of few weights costs some bytes more: of 64 coats each has a lane's share.
    assert tensors["masks"].numel() < 1.01 * entropy_of(level[torch.from_numpy(~frozen)]) + 2 * mask.options.coats


def test_the_file_of_coats_is_as_documented(tmp_path: Path) -> None:
    mask = searched({"coats": 3})
    Ticket.of(mask).save(tmp_path / "a")
    header, tensors = read_ticket_file(tmp_path / "a")
    data = tensors["masks"].numpy().tobytes()
    assert header["form"] == {"coats": 3}
    counts = [entry[1] for entry in header["weights"].values()]
    levels = [mask.levels()[name].flatten() for name in header["weights"]]
    assert counts == [[int((level > coat).sum()) for coat in range(3)] for level in levels]
    sizes = [size for entry in header["weights"].values() for size in (math.prod(entry[0]), entry[1][0], entry[1][1])]
    masks = iter(coding.decode(data, sizes, [count for entry in counts for count in entry]))
    for level in levels:
        left = level
        for coat in range(3):
            bits = next(masks)
            assert bits.tolist() == (left > coat).tolist()
            left = left[left > coat]


@pytest.mark.parametrize(
    "change",
    [
        {"form": ...},
        {"form": {}},
        {"form": {"coats": 1}},
        {"form": {"coats": 65}},
        {"form": {"coats": 2}},
        {"form": {"coats": True}},
        {"form": {"coats": 3.0}},
        {"form": {"coats": "3"}},
        {"form": {"coats": 3, "signed": True}},
        {"form": {"coats": 3, "signed": False}},
        {"form": {"coats": 3, "signed": 1}},
        {"form": {"signed": True}},
        {"form": {"coats": 3, "pruned": 0.5}},
        {"form": {"coats": 3, "pruned": 0.0}},
        {"form": {"coats": 3, "pruned": 1.0}},
        {"form": {"coats": 3, "pruned": "0.5"}},
        {"form": {"coats": 3, "pruned": 0.6, "locked": 0.6}},
        {"form": {"more": 3}},
        {"form": {"coats": 3, "more": 3}},
        {"form": [3]},
        {"form": None},
        {"form": 10**400},
        {"form": {"coats": 10**400}},
    ],
)
def test_other_forms_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    Ticket.of(searched({"coats": 3})).save(tmp_path / "a")
    rewrite(tmp_path / "a", change)
    assert "damaged ticket" in refused(tmp_path / "a")


@pytest.mark.parametrize(
    "counts", [5, [5], [9, 9, 10], [9, 9, 9, 9], [-1, 0, 0], [9.0, 2, 1], ["9", 2, 1], [], None, [[]]]
)
def test_other_counts_are_refused(counts: Any, tmp_path: Path) -> None:
    Ticket.of(searched({"coats": 3})).save(tmp_path / "a")
    header, _ = read_ticket_file(tmp_path / "a")
    name, entry = next(iter(header["weights"].items()))
    rewrite(tmp_path / "a", {"weights": header["weights"] | {name: [entry[0], counts, *entry[2:]]}})
    assert "damaged ticket" in refused(tmp_path / "a")


def test_a_form_in_a_binary_ticket_is_refused(tmp_path: Path) -> None:
    Ticket.of(searched({})).save(tmp_path / "a")
    changes: list[dict[str, Any]] = [{"form": {"coats": 3}}, {"form": {}}]
    for change in changes:
        rewrite(tmp_path / "a", {"form": ...})
        rewrite(tmp_path / "a", change)
        assert "damaged ticket" in refused(tmp_path / "a")


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    Ticket.of(searched({"coats": 3})).save(path)
    data, before = path.read_bytes(), whole(Ticket.load(path))
    for number, position in enumerate(range(0, len(data), 7)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << number % 8
        path.write_bytes(damaged)
        try:
            assert whole(Ticket.load(path)) == before  # padding only
        except ValueError:
            refused(path)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_another_model_goes_on_from_a_state(form: dict[str, Any]) -> None:
    mask = searched(form)
    again = sparsify(NETWORKS[NETWORK](), seed=3, rescale=True, **form)
    again.model.load_state_dict(copy.deepcopy(mask.model.state_dict()))
    for _ in range(2):
        assert whole(Ticket.of(again)) == whole(Ticket.of(mask))
        assert torch.equal(again.model.eval()(X, EDGES), mask.model(X, EDGES))
        for one in (mask, again):
            one.step(0.8)
    with pytest.raises(ValueError, match="allowed is the state of a model that was sparsified with the same arguments"):
        sparsify(NETWORKS[NETWORK](), seed=3, rescale=True).model.load_state_dict(mask.model.state_dict())
    with pytest.raises(ValueError, match="allowed is the state of a model that was sparsified with the same arguments"):
        mask.model.load_state_dict(searched({}).model.state_dict())


def test_the_state_of_binary_masks_names_no_form() -> None:
    state = sparsify(nn.Linear(3, 2)).model.state_dict()["parametrizations.weight.0._extra_state"]
    assert {*json.loads(state.numpy().tobytes())} == {
        *("seed", "weight_init", "scope", "rescale", "ranking", "floor", "first", "first_sparsity", "gain")
    }


def _whole_of(rank: int, form: dict[str, Any]) -> list[Any]:
    mask = sparsify(NETWORKS[NETWORK](), seed=3, rescale=True, min_layer_density=0.2, **form)
    states = []
    for sparsity in (0.0, 0.35, 0.9):
        mask.step(sparsity)
        states.append(whole(Ticket.of(mask)))
    return states


def test_every_rank_has_the_bits_of_one_process() -> None:
    forms = list(FORMS.values())
    expected = [_whole_of(0, form) for form in forms]
    for of_rank in spawn(2, _all_of, forms):
        assert of_rank == expected


def _all_of(rank: int, forms: list[dict[str, Any]]) -> list[Any]:
    return [_whole_of(rank, form) for form in forms]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_compiled_model_computes_the_same(form: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    mask = sparsify(model, seed=1, **form)
    mask.step(0.3)
    x = torch.randn(6, 4)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for one in (model, compiled):
        model.zero_grad()
        one(x).square().sum().backward()
        gradients.append([score.grad.clone() for score in mask.scores() if score.grad is not None])
    assert len(gradients[0]) == 2
    torch.testing.assert_close(*gradients)


def test_an_enormous_number_of_coats_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    mask = sparsify(nn.Linear(4, 4, bias=False), coats=64)
    Ticket.of(mask).save(tmp_path / "a")
    rewrite(tmp_path / "a", {"weights": {"weight": [[2**13, 2**13], [2**26] * 64, "0x1p+0", "0x1p+0"]}})
    assert "declares 4294967296 weights, allowed are " in refused(tmp_path / "a")
