"""Networks of one's own that `sparsify` is given: shared weights, wrappers, what can't be masked, wrong arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.trials.case import case
from ugts_dist import Ticket, linear_schedule, sparsify

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])


def told(action: Callable[[], object]) -> str:
    """What an action is refused with, in its one line."""
    try:
        action()
    except (ValueError, TypeError, FloatingPointError) as error:
        return f"{type(error).__name__}: {error}" if "\n" not in str(error) else "several lines"
    return "no error"


class Tied(nn.Module):
    """An autoencoder with one parameter under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Parameter(torch.randn(4, 4))
        self.dec = self.enc

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.enc) @ self.dec.t()


class Untied(Tied):
    def __init__(self) -> None:
        super().__init__()
        self.dec = nn.Parameter(torch.randn(4, 4))


class Folded(nn.Module):
    """One layer that is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)] * 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def rebuilt(make: Callable[[], nn.Module], *inputs: Tensor) -> str:
    """The weights that are masked, and how far the output of the ticket's network is from the masked model's."""
    mask = sparsify(make())
    mask.step(0.5)
    plain = Ticket.of(mask).apply(make())
    apart = (plain(*inputs) - mask.model.eval()(*inputs)).detach().abs().max()
    return f"{', '.join(mask.masks())}: {mask.num_weights} weights, {len(mask.scores())} scores, {float(apart)} apart"


@case(r"^enc: 16 weights, 1 scores, 0\.0 apart$")
def one_parameter_under_two_names(folder: Path) -> str:
    """A parameter with two names in one module"""
    return rebuilt(Tied, X)


@case(r"^layers\.0\.weight: 16 weights, 1 scores, 0\.0 apart$")
def one_layer_twice(folder: Path) -> str:
    """A layer with two names in a ModuleList"""
    return rebuilt(Folded, X)


@case(r"^att, lin_l\.weight: 15 weights, 2 scores, 0\.0 apart$")
def shared_attention(folder: Path) -> str:
    """GATv2Conv with share_weights"""
    return rebuilt(lambda: pyg.GATv2Conv(4, 3, share_weights=True), X, EDGES)


@case(r"dec is the same weight as enc in the ticket, and of its own in the model")
def tied_ticket_of_an_untied_network(folder: Path) -> str:
    """A ticket of a tied network for an untied one"""
    return told(lambda: Ticket.of(sparsify(Tied())).apply(Untied()))


@case(r"dec is of its own in the ticket, and the same weight as enc in the model")
def untied_ticket_of_a_tied_network(folder: Path) -> str:
    """A ticket of an untied network for a tied one"""
    return told(lambda: Ticket.of(sparsify(Untied())).apply(Tied()))


@case(r"FloatingPointError: the scores of weight are not finite: try a smaller learning rate")
def loss_not_a_number(folder: Path) -> str:
    """Three steps of Adam on a loss that is NaN"""
    model = nn.Linear(4, 2)
    mask = sparsify(model)
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)

    def train() -> None:
        for _ in range(3):
            mask.step(0.5)
            optimizer.zero_grad()
            (model(X).sum() * math.nan).backward()
            optimizer.step()

    return told(train)


@case(r"FloatingPointError: the scores of weight are not finite")
def infinite_scores(folder: Path) -> str:
    """A ticket of scores that are infinite"""
    mask = sparsify(nn.Linear(4, 2))
    with torch.no_grad():
        mask.scores()[0].mul_(math.inf)
    return told(lambda: Ticket.of(mask))


@case(r"weight is parametrized by _WeightNorm: call torch\.nn\.utils\.parametrize\.remove_parametrizations first")
def weight_norm(folder: Path) -> str:
    """A layer with weight norm"""
    return told(lambda: sparsify(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))))


@case(r"the model is compiled: sparsify the module itself first, and then call torch\.compile")
def compiled(folder: Path) -> str:
    """A model that is compiled already"""
    model: Any = torch.compile(nn.Linear(4, 2))
    return told(lambda: sparsify(model))


@case(r"weight is on the device meta, without memory: call model\.to_empty")
def meta(folder: Path) -> str:
    """A model on the device meta"""
    return told(lambda: sparsify(nn.Linear(4, 2, device="meta")))


@case(r"phases is torch\.complex64, allowed in a model with a ticket are torch\.float64, ")
def complex_buffer(folder: Path) -> str:
    """A model with a complex buffer"""
    model = nn.Linear(4, 2)
    model.register_buffer("phases", torch.zeros(2, dtype=torch.complex64))
    return told(lambda: sparsify(model))


@case(r"phases is torch\.complex64, allowed")
def complex_parameter(folder: Path) -> str:
    """A model with a complex parameter"""
    model = nn.Linear(4, 2)
    model.register_parameter("phases", nn.Parameter(torch.zeros(2, dtype=torch.complex64)))
    return told(lambda: sparsify(model))


class Counting(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"calls": 3}


@case(r"_extra_state is dict, allowed in a model with a ticket are tensors")
def extra_state(folder: Path) -> str:
    """A module with get_extra_state that is no tensor"""
    return told(lambda: sparsify(Counting(4, 2)))


@case(r"weight is no longer masked: use the mask before remove_parametrizations")
def removed(folder: Path) -> str:
    """remove_parametrizations before Ticket.of"""
    mask = sparsify(nn.Linear(4, 2))
    nn.utils.parametrize.remove_parametrizations(mask.model, "weight")
    return told(lambda: Ticket.of(mask))


_WRONG: dict[str, tuple[Any, str]] = {
    "scope": ("glbal", "scope is 'glbal', allowed is global, layer"),
    "ranking": ("magn", "ranking is 'magn', allowed is score, magnitude"),
    "score_scale": (0.0, "score_scale is 0.0, allowed is a number from 2^-64 to 2^64"),
    "input_layers": ("weight", "input_layers is 'weight', allowed is a collection of names"),
    "seed": (True, "seed is True, allowed is a whole number from -9223372036854775808 to 18446744073709551615"),
    "weight_init": ("normal", "weight_init is 'normal', allowed is kaiming-uniform"),
    "min_layer_density": (math.nan, "min_layer_density is nan, allowed is [0, 1]"),
}


@case(r"^as expected$")
def wrong_arguments(folder: Path) -> str:
    """Arguments of sparsify that are misspelt, out of range or of another type"""
    for name, (value, message) in _WRONG.items():
        seen = told(lambda name=name, value=value: sparsify(nn.Linear(4, 2), **{name: value}))  # type: ignore[misc]
        if message not in seen:
            return f"{name}={value!r}: {seen}"
    return "as expected"


@case(r"seed is 1\.5, allowed.*seed is 18446744073709551616, allowed")
def wrong_seeds(folder: Path) -> str:
    """Seeds 1.5 and 2^64"""
    return " ".join(told(lambda seed=seed: sparsify(nn.Linear(4, 2), seed)) for seed in (1.5, 2**64))  # type: ignore[misc]


@case(r"epochs is 1\.5, allowed is a whole number of 0 or more.*final is nan, allowed is \[0, 1\)")
def wrong_schedules(folder: Path) -> str:
    """Schedules of 1.5 epochs, and up to NaN"""
    schedule: Any = linear_schedule
    return f"{told(lambda: schedule(0.9, 1.5))} {told(lambda: schedule(math.nan, 10))}"
