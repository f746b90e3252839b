"""Weights of one shape that share their random values, each with its own scores, mask and gain."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.supermask.networks import FEATURES, graph
from tests.supermask.test_ticket import content, refused, rewrite
from ugts_dist import Supermask, Ticket, TicketBank, calibrate, sparsify
from ugts_dist.supermask.ticket_file import read_ticket_file
from ugts_dist.supermask.weights import random_tensor

X, EDGES = graph()
GROUP = ("convs.1.lin.weight", "convs.2.lin.weight", "convs.3.lin.weight")


def network() -> nn.Module:
    return pyg.GCN(FEATURES, 6, 5, 3).eval()


def folded(**options: Any) -> Supermask:
    """A mask with different gains and changed scores."""
    mask = sparsify(network(), seed=3, rescale=True, **{"fold": [GROUP], **options})
    for number, name in enumerate(mask.weights()):
        mask.scale(name, 1.1 + number)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for score in mask.scores():
            score.copy_(torch.randn(score.shape, generator=generator))
    mask.step(0.6)
    return mask


def original(mask: Supermask, name: str) -> Tensor:
    tensor = mask.model.get_submodule(name.removesuffix(".weight")).parametrizations["weight"].original  # type: ignore[union-attr,index]
    assert isinstance(tensor, Tensor)
    return tensor


def test_the_values_are_those_of_the_first_name_and_held_once() -> None:
    mask = folded()
    for name, weight in mask.weights().items():
        drawn = GROUP[0] if name in GROUP else name
        expected = random_tensor(3, "weight", drawn, weight.shape, "kaiming-uniform") * mask.gains()[name]
        assert torch.equal(weight, expected)
    assert len({original(mask, name).data_ptr() for name in GROUP}) == 1
    masks = mask.masks()
    assert not torch.equal(masks[GROUP[0]], masks[GROUP[1]])
    assert len({mask.gains()[name] for name in GROUP}) == 3
    # The same group in another order has another first name.
    other = sparsify(network(), seed=3, fold=[GROUP[::-1]]).weights()
    assert torch.equal(other[GROUP[0]], random_tensor(3, "weight", GROUP[2], other[GROUP[0]].shape, "kaiming-uniform"))


@pytest.mark.parametrize("form", [{}, {"coats": 3}, {"signed": True, "ranking": "magnitude"}, {"pruned": 0.4}])
def test_outputs_and_gradients_are_those_of_the_effective_weights(form: dict[str, Any]) -> None:
    mask = folded(**form)
    ticket = Ticket.of(mask)
    plain = ticket.apply(network())
    masked, expected = mask.model(X, EDGES), plain(X, EDGES)
    assert torch.equal(masked, expected)
    for output in (masked, expected):
        output.sin().sum().backward()
    for name, score in zip(mask.weights(), mask.scores(), strict=True):
        gradient, weight = plain.get_parameter(name).grad, mask.weights()[name]
        assert gradient is not None
        assert score.grad is not None
        sign = score.detach().sign() if form.get("ranking") == "magnitude" and not form.get("signed") else 1.0
        torch.testing.assert_close(score.grad, sign * weight * mask.scales()[name] * gradient, rtol=1e-4, atol=1e-5)


def test_a_ticket_holds_the_groups(tmp_path: Path) -> None:
    mask = folded()
    ticket = Ticket.of(mask)
    ticket.save(tmp_path / "a")
    header, _ = read_ticket_file(tmp_path / "a")
    assert header["fold"] == [list(GROUP)]
    assert "form" not in header
    loaded = Ticket.load(tmp_path / "a")
    assert content(loaded) == content(ticket)
    assert torch.equal(loaded.apply(network())(X, EDGES), mask.model(X, EDGES))


@pytest.mark.parametrize(
    "change",
    [
        {"fold": []},
        {"fold": [[]]},
        {"fold": [list(GROUP[:1])]},
        {"fold": [[GROUP[0], GROUP[0]]]},
        {"fold": [[GROUP[0], "none"]]},
        {"fold": [[GROUP[0], "convs.0.lin.weight"]]},
        {"fold": [list(GROUP[:2]), list(GROUP[1:])]},
        {"fold": [GROUP[0]]},
        {"fold": GROUP[0]},
        {"fold": {"a": list(GROUP)}},
        {"fold": [[1, 2]]},
        {"fold": None},
    ],
)
def test_other_groups_in_a_file_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    Ticket.of(folded()).save(tmp_path / "a")
    rewrite(tmp_path / "a", change)
    assert "damaged ticket" in refused(tmp_path / "a")


def test_of_other_groups_the_fingerprint_does_not_fit(tmp_path: Path) -> None:
    Ticket.of(folded()).save(tmp_path / "a")
    rewrite(tmp_path / "a", {"fold": [list(GROUP[:2])]})
    with pytest.raises(ValueError, match="do not have the ticket's fingerprint"):
        Ticket.load(tmp_path / "a").apply(network())


def test_a_bank_holds_the_values_once() -> None:
    tickets = {"a": Ticket.of(folded()), "b": Ticket.of(folded(coats=3))}
    bank = TicketBank(network(), tickets)
    for name in "abab":
        assert torch.equal(bank(name, X, EDGES), tickets[name].apply(network())(X, EDGES))
    pointers = [bank._backbone[name].weight.data_ptr() for name in GROUP]
    assert len({*pointers}) == 1
    with pytest.raises(ValueError, match="ticket 'c' has seed 3 and weights kaiming-uniform"):
        bank.add("c", Ticket.of(folded(fold=())))


def test_a_state_is_loaded_by_a_model_of_the_same_groups_alone() -> None:
    mask = folded()
    state = copy.deepcopy(mask.model.state_dict())
    again = sparsify(network(), seed=3, rescale=True, fold=[GROUP])
    again.model.load_state_dict(state)
    assert content(Ticket.of(again)) == content(Ticket.of(mask))
    assert torch.equal(again.model(X, EDGES), mask.model(X, EDGES))
    for fold in ([], [GROUP[:2]]):
        other = sparsify(network(), seed=3, rescale=True, fold=fold)
        with pytest.raises(ValueError, match=r"has fold \(\('convs.1.lin.weight', .* allowed is the state of a model"):
            other.model.load_state_dict(state)
    twin = copy.deepcopy(mask)
    assert content(Ticket.of(twin)) == content(Ticket.of(mask))
    assert len({original(twin, name).data_ptr() for name in GROUP}) == 1


def test_without_groups_the_state_is_what_it_was() -> None:
    state = sparsify(nn.Linear(3, 2)).model.state_dict()["parametrizations.weight.0._extra_state"]
    assert "fold" not in json.loads(state.numpy().tobytes())


def test_each_weight_has_the_gain_of_its_own_layer() -> None:
    mask = sparsify(network(), seed=3, rescale=True, fold=[GROUP])
    calibrate(mask, lambda: mask.model(X, EDGES))
    levels = []
    for k in range(5):
        mask.model.get_submodule(f"convs.{k}.lin").register_forward_hook(
            lambda module, inputs, output: levels.append(float(output.detach().square().mean().sqrt()))
        )
    mask.step(0.0)
    mask.model(X, EDGES)
    assert levels == pytest.approx([1.0] * 5, rel=0.02)
    assert len({mask.gains()[name] for name in GROUP}) == 3
    Ticket.of(mask)  # finds the weights that the seed gives


def test_changed_values_are_noticed() -> None:
    mask = folded()
    with torch.no_grad():
        original(mask, GROUP[1]).mul_(2.0)
    with pytest.raises(
        ValueError, match=r"convs\.1\.lin\.weight is not what seed 3, kaiming-uniform and gain 2\.1 give"
    ):
        Ticket.of(mask)


def test_a_compiled_model_computes_the_same() -> None:
    model = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(3)])
    mask = sparsify(model, seed=1, fold=[["0.weight", "1.weight", "2.weight"]])
    mask.scale("1.weight", 3.0)
    mask.step(0.3)
    x = torch.randn(6, 4)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for one in (model, compiled):
        model.zero_grad()
        one(x).square().sum().backward()
        gradients.append([score.grad.clone() for score in mask.scores() if score.grad is not None])
    assert len(gradients[0]) == 3
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([["convs.1.lin.weight", "none"]], "fold is 'none', allowed are convs.0.lin.weight, "),
        (
            [["convs.0.lin.weight", "convs.1.lin.weight"]],
            r"fold has convs.0.lin.weight \(6, 5\) with convs.1.lin.weight \(6, 6\), allowed are weights of one shape",
        ),
        ([["convs.1.lin.weight"]], "fold is .*, allowed is groups of two or more names, each of them once"),
        ([GROUP, GROUP], "fold is .*, allowed is groups of two or more names, each of them once"),
        ("convs", "fold is 'convs', allowed is a collection of groups of names"),
        (["convs"], "fold is 'convs', allowed is a collection of names"),
        (3, "fold is 3, allowed is a collection of groups of names"),
    ],
)
def test_other_groups_are_refused_and_the_model_left_alone(fold: Any, message: str) -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        sparsify(model, fold=fold)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
