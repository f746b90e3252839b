"""Masks of -1, 0 and 1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.supermask.networks import FEATURES, NETWORKS, graph
from ugts_dist import sparsify

X, EDGES = graph()


@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.9])
def test_magnitudes_decide_what_is_kept_and_signs_its_sign(sparsity: float) -> None:
    mask = sparsify(NETWORKS["gat with batch norm"](), signed=True, ranking="magnitude")
    scores = {name: score.detach() for name, score in zip(mask.weights(), mask.scores(), strict=True)}
    mask.step(sparsity)
    ordered = sorted(abs(value) for score in scores.values() for value in score.flatten().tolist())
    limit = ordered[round(sparsity * len(ordered))]
    for name, level in mask.levels().items():
        score = scores[name]
        assert level.tolist() == ((score >= limit).int() - (score <= -limit).int()).tolist()
        assert torch.equal(mask.masks()[name], score.abs() >= limit)


def test_a_layer_by_hand_without_autograd() -> None:
    model = nn.Linear(FEATURES, 12, bias=False)
    mask = sparsify(model, seed=4, signed=True, ranking="magnitude", rescale=True)
    mask.step(0.5)
    score, weight = mask.scores()[0], mask.weights()["weight"].detach()
    sign = torch.where(mask.masks()["weight"], score.detach().sign(), 0.0)
    assert {-1.0, 0.0, 1.0} == {*sign.flatten().tolist()}
    output = model(X)
    torch.testing.assert_close(output, X @ (weight * sign * 2.0**0.5).T)
    output.square().sum().backward()
    assert score.grad is not None
    # The gradient of the mask's own value: a score of either sign is pushed where the value should go.
    torch.testing.assert_close(score.grad, weight * 2.0**0.5 * (2.0 * output.detach().T @ X))


def test_a_score_of_zero_that_is_kept_is_positive() -> None:
    model = nn.Linear(3, 2, bias=False)
    mask = sparsify(model, signed=True, ranking="magnitude")
    with torch.no_grad():
        mask.scores()[0].zero_()
    mask.step(0.5)  # ties are kept
    assert mask.levels()["weight"].tolist() == [[1] * 3] * 2


def test_before_the_first_step_nothing_is_masked() -> None:
    mask = sparsify(nn.Linear(5, 4), signed=True, ranking="magnitude")
    assert torch.equal(mask.levels()["weight"], mask.scores()[0].detach().sign().to(torch.int8))
