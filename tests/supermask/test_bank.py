from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.supermask.networks import FEATURES, NETWORKS, Plain, graph, randomise
from ugts_dist import Ticket, TicketBank, calibrate, sparsify

X, EDGES = graph()


def ticket_of(network: str, number: int, seed: int = 3) -> Ticket:
    """Tickets of one seed with other scores, sparsities, gains, biases and statistics for each number."""
    model = randomise(NETWORKS[network]())
    mask = sparsify(model, seed=seed, rescale=True)
    with torch.no_grad():
        for value in mask.unmasked().values():
            if value.dim() == 1:
                value.mul_(1.0 + 0.1 * number)
        generator = torch.Generator().manual_seed(number)
        for score in mask.scores():
            score.copy_(torch.randn(score.shape, generator=generator))
    if network in ("linear", "gcn of two layers", "gat with batch norm"):
        calibrate(mask, lambda: model(X * (1 + number), EDGES))
    mask.step(sparsity=0.2 + 0.2 * number)
    return Ticket.of(mask)


def tickets_of(network: str, count: int = 3) -> dict[str, Ticket]:
    return {"abcdefgh"[number]: ticket_of(network, number) for number in range(count)}


def rebuilt(network: str, ticket: Ticket) -> Tensor:
    """Outputs of a new model with the ticket applied."""
    with torch.no_grad():
        return ticket.apply(NETWORKS[network]()).eval()(X, EDGES)


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_are_those_of_rebuilt_networks_bit_for_bit(network: str) -> None:
    tickets = tickets_of(network)
    expected = {name: rebuilt(network, ticket) for name, ticket in tickets.items()}
    assert not torch.equal(expected["a"], expected["b"])
    bank = TicketBank(NETWORKS[network]().eval(), tickets)
    assert bank.names() == ("a", "b", "c")
    for name in "abcacbba":
        assert torch.equal(bank(name, X, EDGES), expected[name])
    with bank.using("b") as model:
        assert model is bank.model
        assert torch.equal(model(X, EDGES), expected["b"])
        assert torch.equal(bank("a", X, EDGES), expected["a"])
        with bank.using("c"):
            assert torch.equal(model(X, EDGES), expected["c"])
        assert torch.equal(model(X, EDGES), expected["b"])


def test_tickets_come_and_go() -> None:
    tickets = tickets_of("gat with batch norm")
    bank = TicketBank(NETWORKS["gat with batch norm"]().eval(), {"a": tickets["a"]})
    before = {name: value.clone() for name, value in held_by(bank.model).items()}
    bank.add("c", tickets["c"])
    for name in "ac":
        assert torch.equal(bank(name, X, EDGES), rebuilt("gat with batch norm", tickets[name]))
    bank.remove("a")
    assert bank.names() == ("c",)
    with pytest.raises(KeyError, match="no ticket 'a' in the bank, which has c"):
        bank("a", X, EDGES)
    weights = {name: value for name, value in held_by(bank.model).items() if name.endswith("original")}
    assert weights
    assert all(torch.equal(value, before[name]) for name, value in weights.items())


def test_a_ticket_that_changes_later_does_not_change_the_bank() -> None:
    ticket = ticket_of("linear", 0)
    expected = rebuilt("linear", ticket)
    bank = TicketBank(Plain().eval(), {"a": ticket})
    for value in (*ticket.masks.values(), *ticket.unmasked.values()):
        value.zero_()
    assert torch.equal(bank("a", X, EDGES), expected)


def test_a_network_in_training_mode_leaves_the_tickets_alone() -> None:
    tickets = tickets_of("linear", 2)
    bank = TicketBank(Plain().train(), tickets)
    assert not any(module.training for module in bank.model.modules())
    bank.model.train()
    for name in "aba":
        bank(name, X, EDGES)  # moves the statistics of batch norm
    bank.model.eval()
    for name, ticket in tickets.items():
        assert torch.equal(bank(name, X, EDGES), rebuilt("linear", ticket))


def test_nothing_is_trained_and_inputs_have_gradients() -> None:
    bank = TicketBank(Plain().eval(), tickets_of("linear", 1))
    assert not any(parameter.requires_grad for parameter in bank.model.parameters())
    x = X.clone().requires_grad_()
    bank("a", x, EDGES).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


# Memory


def held_by(root: object) -> dict[str, Tensor]:
    """Every tensor that can be reached from an object, each storage once."""
    tensors: dict[int, tuple[str, Tensor]] = {}
    seen: set[int] = set()

    def look(path: str, value: object) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            tensors.setdefault(value.untyped_storage().data_ptr(), (path, value))
        elif isinstance(value, dict):
            for key, child in value.items():
                look(f"{path}.{key}", child)
        elif isinstance(value, list | tuple | set):
            for number, child in enumerate(value):
                look(f"{path}.{number}", child)
        elif isinstance(value, TicketBank | nn.Module) or dataclasses.is_dataclass(value):
            look(path, vars(value))

    look("", root)
    return dict(tensors.values())


def memory(root: object) -> int:
    return sum(value.untyped_storage().nbytes() for value in held_by(root).values())


def test_a_further_ticket_takes_its_bits_and_little_more() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(1001, 101), nn.BatchNorm1d(101), nn.Linear(101, 7, bias=False)).eval()

    def ticket(number: int) -> Ticket:
        mask = sparsify(network())
        mask.step(0.1 * number)
        return Ticket.of(mask)

    weights = 1001 * 101 + 101 * 7
    bits = -(-1001 * 101 // 8) - (-101 * 7 // 8)
    unmasked = 4 * (101 + 4 * 101) + 8  # bias, batch norm and its counter
    bank = TicketBank(network(), {"0": ticket(0)})
    one = memory(bank)
    assert one == 4 * weights + unmasked + bits + unmasked
    for number in range(1, 9):
        bank.add(str(number), ticket(number))
        assert memory(bank) == one + number * (bits + unmasked)
        assert bank.bytes(str(number)) == bits + unmasked + 2 * 2 * 8
    # Using them takes no more memory: nothing unpacked is kept.
    for name in bank.names():
        bank(name, torch.ones(2, 1001))
    assert memory(bank) == one + 8 * (bits + unmasked)
    for name in bank.names()[1:]:
        bank.remove(name)
    assert memory(bank) == one


def test_the_state_of_the_model_has_no_ticket() -> None:
    bank = TicketBank(Plain(), tickets_of("linear", 2))
    with bank.using("a"):
        state = bank.model.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}


# Copies and devices


def test_a_copy_is_independent() -> None:
    tickets = tickets_of("gat with batch norm", 2)
    bank = TicketBank(NETWORKS["gat with batch norm"]().eval(), tickets)
    twin = copy.deepcopy(bank)
    twin.remove("a")
    with bank.using("a"):
        assert torch.equal(twin("b", X, EDGES), rebuilt("gat with batch norm", tickets["b"]))
        assert torch.equal(bank.model(X, EDGES), rebuilt("gat with batch norm", tickets["a"]))
    storages = [{value.untyped_storage().data_ptr() for value in held_by(one).values()} for one in (bank, twin)]
    assert not storages[0] & storages[1]


def _move(device: str) -> Iterator[str]:
    tickets = tickets_of("gat with batch norm", 2)
    bank = TicketBank(NETWORKS["gat with batch norm"]().eval(), tickets)
    bank("a", X, EDGES)
    bank.model.to(device)
    with torch.no_grad():
        for name in "ab":
            with bank.using(name):
                yield bank.model(X.to(device), EDGES.to(device)).device.type
                masked = {key: value for key, value in bank.model.named_parameters() if "original" not in key}
                plain = tickets[name].apply(NETWORKS["gat with batch norm"]())
                assert all(torch.equal(value.cpu(), plain.get_parameter(key)) for key, value in masked.items())
                for key in tickets[name].masks:
                    owner, _, attribute = key.rpartition(".")
                    weight = getattr(bank.model.get_submodule(owner), attribute)
                    assert torch.equal(weight.cpu(), plain.get_parameter(key))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_bank_follows_its_model(device: str) -> None:
    assert list(_move(device)) == [device, device]


# Mistakes


class Wider(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(8, 4)


class NoNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 8), nn.Linear(8, 3)


def other_ticket(make: Callable[[], nn.Module], **options: Any) -> Ticket:
    return Ticket.of(sparsify(make(), **{"seed": 3, **options}))


def forged(**changes: Any) -> Ticket:
    return dataclasses.replace(ticket_of("linear", 1), **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: other_ticket(Plain, seed=4), "seed 4 and weights kaiming-uniform, the bank has seed 3 and weights"),
        (lambda: other_ticket(Plain, weight_init="uniform"), "seed 3 and weights uniform, the bank has seed 3"),
        (
            lambda: other_ticket(Wider),
            r"the ticket has second\.weight \(4, 8\), in the model \(3, 8\), second\.bias \(4,\), in the model \(3,\)",
        ),
        (lambda: other_ticket(NoNorm), r"the ticket has no norm\.weight, norm\.bias, norm\.running_mean, norm\."),
        (
            lambda: other_ticket(lambda: nn.Linear(FEATURES, 8)),
            r"the ticket has no first\.weight, second\.weight, .* and 5 more; the model has no weight",
        ),
        (lambda: forged(gains={"first.weight": 1.5, "second.weight": 1.0}), "do not have its fingerprint"),
        (lambda: forged(fingerprint="0" * 64), "do not have its fingerprint"),
    ],
)
def test_tickets_that_do_not_fit_are_refused(make: Callable[[], Ticket], message: str) -> None:
    bank = TicketBank(Plain().eval(), {"a": ticket_of("linear", 0)})
    expected = bank("a", X, EDGES)
    with pytest.raises(ValueError, match=rf"^ticket 'b'[^\n]*{message}[^\n]*$"):
        bank.add("b", make())
    assert bank.names() == ("a",)
    assert torch.equal(bank("a", X, EDGES), expected)
    model = Plain()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        TicketBank(model, {"a": ticket_of("linear", 0), "b": make()})
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_that_do_not_fit_are_refused() -> None:
    tickets = tickets_of("linear", 1)
    with pytest.raises(ValueError, match=r"the ticket has second\.weight \(3, 8\), in the model \(4, 8\)"):
        TicketBank(Wider(), tickets)
    bank = TicketBank(Plain(), tickets)
    with pytest.raises(ValueError, match=r"first\.weight is parametrized by _BankedWeight"):
        TicketBank(bank.model, tickets)
    masked = Plain()
    sparsify(masked)
    with pytest.raises(ValueError, match="masked already"):
        TicketBank(masked, tickets)
    with pytest.raises(ValueError, match="tickets is empty"):
        TicketBank(Plain(), {})


def test_names_are_taken_once_and_tickets_in_use_stay() -> None:
    tickets = tickets_of("linear", 2)
    bank = TicketBank(Plain().eval(), tickets)
    with pytest.raises(ValueError, match="'a' is already in the bank"):
        bank.add("a", tickets["b"])
    with bank.using("a"), bank.using("b"):
        for name in "ab":
            with pytest.raises(ValueError, match=f"'{name}' is in use"):
                bank.remove(name)
    with pytest.raises(KeyError):
        bank.remove("c")


def test_without_a_ticket_the_model_says_so() -> None:
    bank = TicketBank(Plain().eval(), tickets_of("linear", 1))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=re.escape("no ticket is in use: call the bank")):
            bank.model(X, EDGES)
        with pytest.raises(ZeroDivisionError), bank.using("a"):
            _ = 1 / 0


def test_cached_weights_never_outlive_their_ticket() -> None:
    tickets = tickets_of("linear", 2)
    bank = TicketBank(Plain().eval(), tickets)
    for name in "ab":
        with bank.using(name), parametrize.cached():
            for _ in range(2):
                assert torch.equal(bank.model(X, EDGES), rebuilt("linear", tickets[name]))
            with pytest.raises(RuntimeError, match=r"inside parametrize\.cached"):
                bank("a", X, EDGES)
