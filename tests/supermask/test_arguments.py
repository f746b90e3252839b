"""Arguments that are not allowed: each is refused in one line that names it, its value and what is allowed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from tests.supermask.networks import FEATURES, Plain, graph
from ugts_dist import Ticket, TicketBank, sparsify
from ugts_dist.supermask.arguments import seed as check_seed

X, EDGES = graph()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": True}, r"seed is True, allowed is a whole number from -9223372036854775808 to 18446744073709551615"),
        ({"seed": 1.5}, r"seed is 1\.5, allowed"),
        ({"seed": 2**64}, "seed is 18446744073709551616, allowed"),
        ({"seed": -(2**63) - 1}, "seed is -9223372036854775809, allowed"),
        ({"seed": "0"}, "seed is '0', allowed"),
        ({"seed": None}, "seed is None, allowed"),
        ({"weight_init": "kaiming"}, "weight_init is 'kaiming', allowed is kaiming-uniform, kaiming-normal, signed"),
        ({"weight_init": None}, "weight_init is None, allowed"),
        ({"score_init": "normal"}, "score_init is 'normal', allowed is kaiming-uniform, "),
        ({"score_scale": 0}, r"score_scale is 0, allowed is a number from 2\^-64 to 2\^64"),
        ({"score_scale": -1.0}, r"score_scale is -1\.0, allowed"),
        ({"score_scale": math.nan}, "score_scale is nan, allowed"),
        ({"score_scale": math.inf}, "score_scale is inf, allowed"),
        ({"score_scale": "1"}, "score_scale is '1', allowed"),
        ({"scope": "glbal"}, "scope is 'glbal', allowed is global, layer"),
        ({"scope": ["global"]}, r"scope is \['global'\], allowed"),
        ({"ranking": "magn"}, "ranking is 'magn', allowed is score, magnitude"),
        ({"rescale": "no"}, "rescale is 'no', allowed is True or False"),
        ({"signed": 1}, "signed is 1, allowed is True or False"),
        ({"signed": True}, "ranking is 'score', allowed is 'magnitude' for signed masks"),
        ({"min_layer_density": math.nan}, r"min_layer_density is nan, allowed is \[0, 1\]"),
        ({"min_layer_density": 1.1}, r"min_layer_density is 1\.1, allowed is \[0, 1\]"),
        ({"min_layer_density": "1"}, r"min_layer_density is '1', allowed is \[0, 1\]"),
        ({"input_layers": "first.weight"}, "input_layers is 'first.weight', allowed is a collection of names"),
        ({"input_layers": [0]}, r"input_layers is \[0\], allowed is a collection of names"),
        ({"input_layers": 3}, "input_layers is 3, allowed is a collection of names"),
        ({"input_sparsity": math.nan}, r"input_sparsity is nan, allowed is \[0, 1\)"),
        ({"input_sparsity": True}, r"input_sparsity is True, allowed is \[0, 1\)"),
    ],
)
def test_options_of_sparsify(options: dict[str, Any], message: str) -> None:
    model = Plain()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        sparsify(model, **options)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_numbers_of_numpy_and_torch_are_taken_for_what_they_are() -> None:
    plain = sparsify(Plain(), 5, min_layer_density=0.5).fingerprint()
    for seed in (np.int64(5), np.uint8(5), torch.tensor(5)):
        mask = sparsify(Plain(), seed, min_layer_density=np.float32(0.5), score_scale=np.float64(2.0))  # type: ignore[arg-type]
        mask.step(np.float32(0.5))  # type: ignore[arg-type]
        assert mask.fingerprint() == plain
        assert type(mask.recipe.seed) is int
    assert check_seed("seed", 2**64 - 1) == 2**64 - 1


def test_first_may_be_any_iterable() -> None:
    masks = []
    for first in (["first.weight"], {"first.weight"}, (name for name in ["first.weight"])):
        mask = sparsify(Plain(), input_layers=first, input_sparsity=0.9)
        mask.step(0.3)
        masks.append(mask.masks()["first.weight"])
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])
    assert int((~masks[0]).sum()) > 0


@pytest.mark.parametrize("sparsity", [math.nan, 1.0, -0.1, True, "0.5", None])
def test_sparsity_of_a_step(sparsity: Any) -> None:
    with pytest.raises(ValueError, match=r"^sparsity is .*, allowed is \[0, 1\)$"):
        sparsify(Plain()).step(sparsity)


@pytest.mark.parametrize("gain", [0.0, math.nan, math.inf, 2.0**65, -(2.0**-65)])
def test_gain_of_a_weight(gain: float) -> None:
    mask = sparsify(Plain())
    before = mask.fingerprint()
    with pytest.raises(ValueError, match=r"gain is .*, allowed is a number of magnitude 2\^-64 to 2\^64"):
        mask.scale("first.weight", gain)
    with pytest.raises(ValueError, match=r"name is 'first', allowed are first\.weight, second\.weight"):
        mask.scale("first", 1.0)
    assert mask.fingerprint() == before
    assert mask.gains()["first.weight"] == 1.0


@pytest.mark.parametrize(
    ("tickets", "message"),
    [
        ([1], "tickets is list, allowed is a mapping of names to tickets"),
        (None, "tickets is NoneType, allowed is a mapping"),
        ({"a": None}, "tickets has 'a': NoneType, allowed are names with tickets"),
        ({1: "ticket"}, "tickets has 1: Ticket, allowed are names with tickets"),
    ],
)
def test_tickets_of_a_bank(tickets: Any, message: str) -> None:
    ticket = Ticket.of(sparsify(Plain()))
    with pytest.raises(TypeError, match=message):
        TicketBank(
            Plain(),
            {key: ticket if value == "ticket" else value for key, value in tickets.items()}
            if isinstance(tickets, dict)
            else tickets,
        )
    bank = TicketBank(Plain(), {"a": ticket})
    with pytest.raises(TypeError, match="tickets has 'b': str, allowed are names with tickets"):
        bank.add("b", "b.ticket")  # type: ignore[arg-type]


def test_a_model_in_place_of_its_mask() -> None:
    model: Any = Plain()
    sparsify(model)
    with pytest.raises(TypeError, match="mask is Plain, allowed is what sparsify returns"):
        Ticket.of(model)


# Models that can't be masked


class Complex(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.lin = nn.Linear(2, 2)
        values = torch.zeros(2, 2, dtype=torch.complex64)
        if kind == "buffer":
            self.register_buffer("phases", values)
        else:
            self.phases = nn.Parameter(values if kind == "weight" else values[0])


class Extra(nn.Linear):
    """A layer that keeps something beside its tensors."""

    def __init__(self, extra: Any = None) -> None:
        super().__init__(2, 2)
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return pyg.GCN(FEATURES, 4, 2, 3)


def half_on_meta() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).to("meta"))


def inner_compiled() -> nn.Module:
    layer: Any = torch.compile(nn.Linear(2, 2))
    return nn.ModuleList([layer])


def old_spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(2, 2)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore:Initializing zero-element:UserWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: torch.compile(Plain()),
            "the model is compiled: sparsify the module itself first, and then call",
        ),
        (inner_compiled, "0 is compiled: sparsify the module itself first"),
        (
            lambda: DataParallel(Plain()),
            "the model is DataParallel: sparsify the module itself first, and then wrap",
        ),
        (
            on_meta,
            r"convs\.0\.\w+\.?\w* is on the device meta, without memory: call model\.to_empty\(device=",
        ),
        (half_on_meta, r"1\.weight is on the device meta"),
        (lambda: nn.utils.weight_norm(nn.Linear(2, 2)), r"weight has a WeightNorm: call .*remove_weight_norm first"),
        (old_spectral_norm, r"0\.weight has a SpectralNorm: call torch\.nn\.utils\.remove_spectral_norm first"),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
            r"0\.weight is parametrized by _WeightNorm: call torch\.nn\.utils\.parametrize\.remove_param",
        ),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)), "weight is parametrized by _SpectralNorm"),
        (lambda: Complex("weight"), r"phases is torch\.complex64, allowed is torch\.float32"),
        (lambda: Complex("bias"), r"phases is torch\.complex64, allowed in a model with a ticket are torch\.float64, "),
        (lambda: Complex("buffer"), r"phases is torch\.complex64, allowed in a model with a ticket are"),
        (lambda: Extra({"a": 1}), "_extra_state is dict, allowed in a model with a ticket are tensors"),
        (lambda: nn.Linear(0, 2), r"weight has shape \(2, 0\), allowed are axes of 1 or more"),
        (lambda: "gcn", "the model is str, allowed is a torch.nn.Module"),
    ],
)
def test_models_that_can_not_be_masked(make: Callable[[], nn.Module], message: str) -> None:
    model = make()
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        sparsify(model)
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        Ticket.of(sparsify(Plain())).apply(model)


def test_weights_without_their_norm_are_masked() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert sparsify(layer).weights().keys() == {"weight"}


def test_extra_state_that_is_a_tensor_is_part_of_a_ticket(tmp_path: Any) -> None:
    mask = sparsify(Extra(torch.arange(3)))
    Ticket.of(mask).save(tmp_path / "a")
    plain = Ticket.load(tmp_path / "a").apply(Extra(torch.zeros(3, dtype=torch.int64)))
    assert isinstance(plain.extra, Tensor)
    assert plain.extra.tolist() == [0, 1, 2]
    mask.model.extra = "more"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="_extra_state is str, allowed in a model with a ticket are tensors"):
        Ticket.of(mask)


# Scores that are not finite


def make_not_finite(score: Tensor, value: float) -> None:
    with torch.no_grad():
        score[0, 0] = value


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    mask = sparsify(Plain())
    mask.step(0.5)
    before = [float(entry.masked.threshold) for entry in mask._entries.values()]
    make_not_finite(mask.scores()[1], value)
    message = r"^the scores of second\.weight are not finite: try a smaller learning rate$"
    for call in (lambda: mask.step(0.5), mask.sparsity, mask.masks, mask.check_finite, lambda: Ticket.of(mask)):
        with pytest.raises(FloatingPointError, match=message):
            call()
    assert [float(entry.masked.threshold) for entry in mask._entries.values()] == before


def test_a_threshold_that_is_not_finite_is_refused_until_the_next_step() -> None:
    """The state after a step on a GPU, which does not check the scores."""
    mask = sparsify(Plain())
    for entry in mask._entries.values():
        entry.masked.threshold.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"first\.weight were not finite at the last step"):
        Ticket.of(mask)
    mask.step(0.5)
    assert mask.sparsity() == pytest.approx(0.5)


def test_a_loss_that_is_not_a_number_ends_in_an_error() -> None:
    mask = sparsify(Plain())
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)

    def train() -> None:
        for _ in range(3):
            mask.step(0.5)
            optimizer.zero_grad()
            (mask.model(X, EDGES).sum() * math.nan).backward()
            optimizer.step()

    with pytest.raises(FloatingPointError, match=r"the scores of first\.weight are not finite"):
        train()


def test_extreme_scores_that_are_finite_are_ranked() -> None:
    mask = sparsify(nn.Linear(4, 4, bias=False))
    largest = torch.finfo(torch.float32).max
    with torch.no_grad():
        mask.scores()[0].copy_(torch.linspace(-1, 1, 16).view(4, 4) * largest)
    mask.step(0.25)
    assert int((~mask.masks()["weight"]).sum()) == 4
