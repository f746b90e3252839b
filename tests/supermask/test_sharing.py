"""One weight under several names: one score, one mask, counted once, in the ticket as well."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.supermask.networks import FEATURES, graph
from ugts_dist import Supermask, Ticket, TicketBank, calibrate, sparsify
from ugts_dist.supermask.weights import random_tensor

X, EDGES = graph()


class OneModule(nn.Module):
    """One parameter under two names of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Parameter(torch.randn(FEATURES, FEATURES))
        self.dec = self.enc
        self.out = nn.Linear(FEATURES, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.out(torch.relu(x @ self.enc) @ self.dec.t())


class Untied(OneModule):
    """A network of the same shapes, without shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.dec = nn.Parameter(torch.randn(FEATURES, FEATURES))


class TwoModules(nn.Module):
    """One parameter in two modules, like tied embeddings and outputs; each has its own bias."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.dec.weight = self.enc.weight

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.dec(torch.tanh(self.enc(x)))


class TwoLayers(TwoModules):
    def __init__(self) -> None:
        super().__init__()
        self.dec = nn.Linear(FEATURES, FEATURES)


class Folded(nn.Module):
    """One layer with a bias and a normalisation, applied twice under two names."""

    def __init__(self) -> None:
        super().__init__()
        conv, norm = pyg.GCNConv(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES)
        self.convs, self.norms = nn.ModuleList([conv] * 2), nn.ModuleList([norm] * 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x, edge_index)))
        return x


class Unfolded(Folded):
    def __init__(self) -> None:
        super().__init__()
        self.convs[1] = pyg.GCNConv(FEATURES, FEATURES)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, str], set[str]]] = {
    "one module": (OneModule, {"dec": "enc"}, {"enc", "out.weight"}),
    "two modules": (TwoModules, {"dec.weight": "enc.weight"}, {"enc.weight"}),
    "one layer twice": (Folded, {"convs.1.lin.weight": "convs.0.lin.weight"}, {"convs.0.lin.weight"}),
    "both maps of an attention": (
        lambda: pyg.GATv2Conv(FEATURES, 3, share_weights=True),
        {"lin_r.weight": "lin_l.weight"},
        {"lin_l.weight", "att"},
    ),
}


def searched(network: str) -> Supermask:
    mask = sparsify(NETWORKS[network][0](), seed=3, rescale=True)
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)
    for _ in range(3):
        mask.step(0.6)
        optimizer.zero_grad()
        mask.model(X, EDGES).square().sum().backward()
        optimizer.step()
    mask.step(0.6)
    mask.model.eval()
    return mask


@pytest.mark.parametrize("network", NETWORKS)
def test_a_shared_weight_has_one_score_and_one_mask(network: str) -> None:
    make, shared, own = NETWORKS[network]
    mask = searched(network)
    assert mask.masks().keys() == mask.weights().keys() == own
    assert mask.shared() == shared
    assert mask.num_weights == sum(value.numel() for value in make().parameters() if value.dim() >= 2)
    assert sum(int((~value).sum()) for value in mask.masks().values()) == round(0.6 * mask.num_weights)
    trainable = [value for value in mask.model.parameters() if value.requires_grad]
    assert {id(value) for value in trainable} == {id(score) for score in mask.scores()}
    assert len(trainable) == len(own)
    for name, other in {name: name for name in own}.items() | shared.items():
        seen: Any = mask.model
        for part in name.split("."):
            seen = getattr(seen, part) if not part.isdigit() else seen[int(part)]
        weight = random_tensor(3, "weight", other, seen.shape, "kaiming-uniform")
        assert torch.equal(seen, weight * mask.masks()[other] * mask.scales()[other])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_of_a_shared_score_is_that_of_all_its_readers(network: str) -> None:
    make = NETWORKS[network][0]
    plain = make()
    mask = sparsify(copy.deepcopy(plain))
    effective = dict(mask.weights())
    with torch.no_grad():
        for name, value in plain.named_parameters():
            if name in effective:
                value.copy_(effective[name])
    for model in (plain, mask.model):
        model.eval()(X, EDGES).sin().sum().backward()
    for (name, weight), score in zip(effective.items(), mask.scores(), strict=True):
        gradient = plain.get_parameter(name).grad
        assert gradient is not None
        assert score.grad is not None
        torch.testing.assert_close(score.grad, weight * gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_ticket_state_copy_and_bank_of_a_shared_weight(network: str, tmp_path: Path) -> None:
    make, shared, own = NETWORKS[network]
    mask = searched(network)
    expected = mask.model(X, EDGES)
    Ticket.of(mask).save(tmp_path / "a")
    ticket = Ticket.load(tmp_path / "a")
    assert ticket.masks.keys() == own
    assert ticket.shared == shared
    plain = ticket.apply(make())
    assert torch.equal(plain(X, EDGES), expected)
    assert len(list(plain.parameters())) == len(list(make().parameters())), "still shared"

    again = sparsify(make(), seed=3, rescale=True)
    again.model.load_state_dict(mask.model.state_dict())
    for one in (again, copy.deepcopy(mask)):
        assert torch.equal(one.model.eval()(X, EDGES), expected)
        assert len(one.scores()) == len(own)
        one.step(0.9)
        assert sum(int((~value).sum()) for value in one.masks().values()) == round(0.9 * one.num_weights)
    mask.step(0.2)
    bank = TicketBank(make(), {"small": ticket, "large": Ticket.of(mask)})
    assert torch.equal(bank("small", X, EDGES), expected)
    assert torch.equal(bank("large", X, EDGES), mask.model(X, EDGES))


@pytest.mark.parametrize(
    ("tied", "untied", "name", "own"),
    [
        (OneModule, Untied, "dec", "enc"),
        (TwoModules, TwoLayers, r"dec\.weight", r"enc\.weight"),
        (Folded, Unfolded, r"convs\.1\.lin\.weight", r"convs\.0\.lin\.weight"),
    ],
)
def test_tickets_of_tied_and_untied_networks_are_not_mixed(
    tied: Callable[[], nn.Module], untied: Callable[[], nn.Module], name: str, own: str
) -> None:
    shared = f"the same weight as {own}"
    for make, other, in_ticket, in_model in (
        (tied, untied, f"{shared} in the ticket, and of its own in the model", shared),
        (untied, tied, f"of its own in the ticket, and {shared} in the model", shared),
    ):
        ticket, model = Ticket.of(sparsify(make())), other()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=rf"^the model does not fit the ticket: {name} is {in_ticket}[^\n]*$"):
            ticket.apply(model)
        with pytest.raises(ValueError, match=in_model):
            TicketBank(model, {"a": ticket})
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_buffers_that_only_the_model_shares_have_to_be_equal() -> None:
    class Apart(Folded):
        def __init__(self) -> None:
            super().__init__()
            self.norms[1] = nn.BatchNorm1d(FEATURES)

    equal = Ticket.of(sparsify(Apart()))
    equal.apply(Folded())
    model = Apart()
    with torch.no_grad():
        model.get_parameter("norms.1.weight").fill_(2.0)
    with pytest.raises(ValueError, match=r"norms\.0\.weight and norms\.1\.weight are one tensor in the model"):
        Ticket.of(sparsify(model)).apply(Folded())


def test_parameters_that_overlap_without_being_one_are_refused() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc = nn.Linear(4, 4)
            self.dec = nn.Parameter(self.enc.weight.data.t())

    for model, message in (
        (Transposed(), "(dec|enc.weight) shares memory with (enc.weight|dec): allowed is one nn.Parameter under both"),
    ):
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=message):
            sparsify(model)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    halves = nn.ParameterList(torch.arange(12.0).reshape(2, 2, 3).unbind())
    assert sparsify(halves).num_weights == 12, "side by side in one memory, as recurrent layers on a GPU have them"


def test_a_weight_that_is_shared_in_two_layers_is_calibrated_in_the_first() -> None:
    mask = sparsify(TwoModules())
    with pytest.warns(UserWarning, match=r"dec, which shares enc\.weight"):
        calibrate(mask, lambda: mask.model(X, EDGES))
    hidden = mask.model.get_submodule("enc")(X)
    assert float(hidden.detach().square().mean().sqrt()) == pytest.approx(1.0, rel=0.01)
