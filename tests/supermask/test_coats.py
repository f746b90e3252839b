"""Several nested thresholds on one score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.supermask.networks import FEATURES, NETWORKS, graph
from ugts_dist import Supermask, sparsify
from ugts_dist.config_limits import MAX_COATS
from ugts_dist.supermask import form
from ugts_dist.supermask.bit_masks import bit_masks, coded_sizes, levels_of
from ugts_dist.supermask.coats import coat_sparsities
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.recipe import Scope

X, EDGES = graph()


def with_scores(mask: Supermask, scales: list[float]) -> Supermask:
    """Layers whose scores are of different sizes."""
    with torch.no_grad():
        for score, scale in zip(mask.scores(), scales, strict=False):
            score.mul_(scale)
    return mask


def test_sparsities_lie_evenly_between_the_first_and_one() -> None:
    assert coat_sparsities(0.9, 1) == [0.9]
    assert coat_sparsities(0.7, 3) == pytest.approx([0.7, 0.8, 0.9])
    assert coat_sparsities(0.0, 4) == pytest.approx([0.0, 0.25, 0.5, 0.75])


@given(
    sparsity=st.floats(0.0, 0.99),
    coats=st.integers(1, 6),
    scope=st.sampled_from(["global", "layer"]),
    first=st.sampled_from([(), ("convs.0.lin.weight",)]),
    floor=st.sampled_from([0.0, 0.3, 1.0]),
    scales=st.lists(st.sampled_from([0.01, 1.0, 30.0]), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_each_coat_is_the_binary_mask_of_its_own_sparsity(
    sparsity: float,
    coats: int,
    scope: Scope,
    first: tuple[str, ...],
    floor: float,
    scales: list[float],
    seed: int,
) -> None:
    if scope == "layer":
        first = ()
    options = {
        "scope": scope,
        "input_layers": first,
        "input_sparsity": 0.6 if first else 0.0,
        "min_layer_density": floor,
    }
    make = NETWORKS["gat with batch norm"]
    mask = with_scores(sparsify(make(), seed, coats=coats, **options), scales)  # type: ignore[arg-type]
    mask.step(sparsity)
    levels = mask.levels() if coats > 1 else mask.masks()
    for coat in range(coats):
        binary = with_scores(sparsify(make(), seed, **options), scales)  # type: ignore[arg-type]
        binary.step(sparsity + (1.0 - sparsity) * coat / coats)
        kept = sum(int(value.sum()) for value in binary.masks().values())
        same = all(torch.equal(levels[name] > coat, expected) for name, expected in binary.masks().items())
        if not floor or coat == 0:
            assert same
        # The floors of two coats are rounded down: in each layer they may differ by one more than nesting allows.
        assert abs(sum(int((value > coat).sum()) for value in levels.values()) - kept) <= (6 if floor else 0)
    assert all(torch.equal(value > 0, mask.masks()[name]) for name, value in levels.items())


def test_before_the_first_step_every_weight_counts_once() -> None:
    mask = sparsify(nn.Linear(5, 4), coats=3)
    assert (mask.levels()["weight"] == 1).all()
    assert mask.sparsity() == 0.0


def by_hand(score: Tensor, sparsity: float, coats: int) -> Tensor:
    """Levels from a sort of the scores of one layer."""
    ordered = sorted(score.flatten().tolist())
    limits = [ordered[round((sparsity + (1 - sparsity) * i / coats) * len(ordered))] for i in range(coats)]
    return torch.stack([score >= limit for limit in limits]).sum(0)


@pytest.mark.parametrize("coats", [2, 3, 7])
def test_a_layer_by_hand_without_autograd(coats: int) -> None:
    model = nn.Linear(FEATURES, 12, bias=False)
    mask = sparsify(model, seed=4, coats=coats, rescale=True)
    mask.step(0.4)
    level = by_hand(mask.scores()[0].detach(), 0.4, coats)
    assert torch.equal(mask.levels()["weight"], level.to(torch.int8))
    scale = float(level.double().square().mean()) ** -0.5
    assert mask.scales()["weight"] == pytest.approx(scale, rel=1e-6)
    weight = mask.weights()["weight"].detach()
    output = model(X)
    torch.testing.assert_close(output, X @ (weight * level * scale).T)
    output.square().sum().backward()
    gradient = mask.scores()[0].grad
    assert gradient is not None
    torch.testing.assert_close(gradient, weight * scale * (2.0 * output.detach().T @ X))


def test_a_single_coat_is_the_binary_mask() -> None:
    masks = [sparsify(NETWORKS["gat with batch norm"](), rescale=True, **one) for one in ({}, {"coats": 1})]  # type: ignore[arg-type]
    for mask in masks:
        mask.step(0.7)
    one, other = (mask.model.state_dict() for mask in masks)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert masks[0].levels() == {}


@pytest.mark.parametrize(
    ("coats", "told"), [(0, "0"), (-1, "-1"), (65, "65"), (1.5, r"1\.5"), (True, "True"), ("3", "'3'"), (None, "None")]
)
def test_other_numbers_of_coats_are_refused(coats: int, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^coats is {told}, allowed is a whole number from 1 to 64$"):
        sparsify(nn.Linear(3, 2), coats=coats)


def test_the_configuration_allows_as_many() -> None:
    assert form.MAX_COATS == MAX_COATS


@given(levels=st.lists(st.integers(-5, 5), max_size=200), coats=st.integers(5, 7), signed=st.booleans())
def test_bit_masks_tell_the_levels(levels: list[int], coats: int, signed: bool) -> None:
    values = np.array(levels if signed else [abs(level) for level in levels], np.int8)
    form = Form(coats, signed)
    masks = bit_masks(values, form)
    assert len(masks) == form.num_masks
    for coat in range(coats):
        left = [abs(level) for level in levels if abs(level) >= coat]
        assert masks[coat].tolist() == [level > coat for level in left]
    if signed:
        assert masks[-1].tolist() == [level < 0 for level in levels if level]
    assert [mask.size for mask in masks] == coded_sizes(len(levels), [int(mask.sum()) for mask in masks], form)
    assert levels_of(masks, form).tolist() == values.tolist()


def test_the_mean_square_counts_every_level_once() -> None:
    mask = sparsify(nn.Linear(64, 64, bias=False), coats=5, rescale=True)
    mask.step(0.3)
    squares = mask.levels()["weight"].double().square()
    assert mask.scales()["weight"] == pytest.approx(math.sqrt(squares.numel() / float(squares.sum())), rel=1e-6)
