"""Masks by a function of a layer's scores."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ugts_dist.supermask import Supermask, Ticket, sparsify


def by_layer(scores: Tensor) -> Tensor:
    """In units of the layer's standard deviation."""
    return scores / scores.detach().std()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 30), nn.ReLU(), nn.Linear(30, 5))


def masked(**options: Any) -> Supermask:
    mask = sparsify(network(), 3, **({"rank": by_layer} | options))
    with torch.no_grad():
        mask.scores()[0].mul_(20.0)
    return mask


def expected(mask: Supermask, sparsity: float, magnitude: bool = False) -> list[Any]:
    """By numpy's sort of all layers' ranks."""
    scores = [score.detach().numpy().astype(np.float64) for score in mask.scores()]
    scores = [np.abs(score) for score in scores] if magnitude else scores
    ranks = [score / score.std(ddof=1) for score in scores]
    order = np.sort(np.concatenate([rank.ravel() for rank in ranks]))
    return [rank >= order[round(sparsity * order.size)] for rank in ranks]


@pytest.mark.parametrize("options", [{}, {"ranking": "magnitude"}, {"ranking": "magnitude", "signed": True}])
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_the_largest_ranks_are_kept(options: dict[str, Any], sparsity: float) -> None:
    mask = masked(**options)
    mask.step(sparsity)
    for bits, wanted in zip(mask.masks().values(), expected(mask, sparsity, bool(options)), strict=True):
        assert np.array_equal(bits.numpy(), wanted)
    plain = masked(**options, rank=None)
    plain.step(sparsity)
    assert any(not torch.equal(a, b) for a, b in zip(mask.masks().values(), plain.masks().values(), strict=True))


def test_gradients_pass_through_it() -> None:
    x = torch.randn(4, 7)
    mask, plain = sparsify(network()[:1], 3, rank=by_layer), sparsify(network()[:1], 3)
    deviation = plain.scores()[0].detach().std()
    for one in (mask, plain):
        one.step(0.0)
        one.model(x).square().sum().backward()
    gradient, of_score = mask.scores()[0].grad, plain.scores()[0].grad
    assert gradient is not None
    assert of_score is not None
    torch.testing.assert_close(gradient, of_score / deviation)


def test_a_ticket_needs_nothing_of_it() -> None:
    mask, x = masked(pruned=0.1, locked=0.1, rescale=True), torch.randn(4, 7)
    mask.step(0.6)
    assert mask.sparsity() == pytest.approx(0.6, abs=0.01)
    assert torch.equal(Ticket.of(mask).apply(network())(x), mask.model(x))


def test_a_state_of_another_rank_is_refused() -> None:
    state = copy.deepcopy(masked().model.state_dict())
    masked().model.load_state_dict(state)
    with pytest.raises(ValueError, match=r"state of 0.weight has rank 'by_layer' \(here ''\)"):
        masked(rank=None).model.load_state_dict(state)


@pytest.mark.parametrize(
    ("rank", "told"),
    [
        (lambda score: score.sum(1), r"finite and of shape \(30,\)"),
        (lambda score: score / 0.0, "not finite"),
        (lambda score: score.double(), "finite .*float64"),
    ],
)
def test_what_is_no_rank_leaves_the_model_as_it_was(rank: Any, told: str) -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"rank returns values that are {told}.*, allowed are finite ones of shape"):
        sparsify(model, rank=rank)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
