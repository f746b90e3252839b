from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
import torch_geometric.nn as pyg
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.processes import spawn
from tests.supermask.networks import FEATURES, NETWORKS, graph, randomise
from ugts_dist import Supermask, sparsify
from ugts_dist.supermask.recipe import Ranking, Scope
from ugts_dist.supermask.weights import random_tensor

X, EDGES = graph()


def count_masked(mask: Supermask) -> dict[str, int]:
    return {name: int((~value).sum()) for name, value in mask.masks().items()}


def masked_by_hand(mask: Supermask, sparsity: float, ranking: Ranking = "score") -> dict[str, Tensor]:
    """The global supermask from a sort of all scores."""
    ranked = {
        name: score.detach().abs() if ranking == "magnitude" else score.detach()
        for name, score in zip(mask.weights(), mask.scores(), strict=True)
    }
    ordered = sorted(value for score in ranked.values() for value in score.flatten().tolist())
    return {name: score >= ordered[round(sparsity * len(ordered))] for name, score in ranked.items()}


# What is masked


@given(sparsity=st.floats(0.0, 0.999), scope=st.sampled_from(["global", "layer"]), seed=st.integers(0, 2**63))
def test_exactly_the_asked_number_is_masked(sparsity: float, scope: Scope, seed: int) -> None:
    mask = sparsify(pyg.GCN(FEATURES, 7, 3, 4), seed, scope=scope)
    sizes = {name: weight.numel() for name, weight in mask.weights().items()}
    mask.step(sparsity)
    masked = count_masked(mask)
    if scope == "layer":
        assert masked == {name: round(sparsity * size) for name, size in sizes.items()}
    else:
        assert sum(masked.values()) == round(sparsity * sum(sizes.values()))
    assert mask.num_weights == sum(sizes.values())
    assert mask.sparsity() == pytest.approx(sum(masked.values()) / mask.num_weights, abs=1e-12)


@pytest.mark.parametrize("ranking", ["score", "magnitude"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.99])
def test_the_lowest_scores_of_all_layers_are_masked(ranking: Ranking, sparsity: float) -> None:
    mask = sparsify(pyg.GAT(FEATURES, 8, 3, 4, heads=2), ranking=ranking)
    mask.step(sparsity)
    expected = masked_by_hand(mask, sparsity, ranking)
    assert {"convs.0.att_src", "convs.1.att_dst", "convs.2.lin.weight"} <= expected.keys()
    assert mask.masks().keys() == expected.keys()
    assert all(torch.equal(bits, expected[name]) for name, bits in mask.masks().items())


@given(
    sparsity=st.floats(0.0, 0.999),
    floor=st.floats(0.01, 1.0),
    scales=st.lists(st.sampled_from([0.001, 0.1, 1.0, 30.0]), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_a_floor_keeps_the_best_of_each_layer_and_the_global_rest(
    sparsity: float, floor: float, scales: list[float], seed: int
) -> None:
    mask = sparsify(pyg.GAT(FEATURES, 8, 2, 4), seed, min_layer_density=floor)
    scores = dict(zip(mask.weights(), mask.scores(), strict=True))
    with torch.no_grad():
        for score, scale in zip(scores.values(), scales, strict=True):
            score.mul_(scale)
    mask.step(sparsity)

    order = []  # the last ones are kept: first what no floor keeps, then by score
    for name, score in scores.items():
        values = score.detach().flatten().tolist()
        kept = int(floor * (1.0 - sparsity) * len(values) + 1e-6)
        best = sorted(range(len(values)), key=values.__getitem__)[len(values) - kept :]
        order += [(i in set(best), value, name, i) for i, value in enumerate(values)]
    masked = round(sparsity * len(order))
    expected = {(name, i) for _, _, name, i in sorted(order)[masked:]}
    kept_by_mask = {(name, i) for name, m in mask.masks().items() for i in m.flatten().nonzero().flatten().tolist()}
    assert kept_by_mask == expected


def test_a_whole_floor_is_a_threshold_a_layer() -> None:
    even, layers = (
        sparsify(pyg.GCN(10, 10, 3, 10), min_layer_density=1.0),
        sparsify(pyg.GCN(10, 10, 3, 10), scope="layer"),
    )
    for mask in (even, layers):
        mask.step(0.9)
    assert all(torch.equal(bits, layers.masks()[name]) for name, bits in even.masks().items())


@given(
    sparsity=st.floats(0.0, 0.999),
    input_sparsity=st.floats(0.0, 0.999),
    floor=st.sampled_from([0.0, 0.4, 1.0]),
    scales=st.lists(st.sampled_from([0.001, 0.1, 1.0, 30.0]), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_what_is_first_is_masked_before_all_others(
    sparsity: float, input_sparsity: float, floor: float, scales: list[float], seed: int
) -> None:
    first = ["convs.0.lin.weight", "convs.0.att_src"]
    mask = sparsify(
        pyg.GAT(FEATURES, 8, 2, 4), seed, min_layer_density=floor, input_layers=first, input_sparsity=input_sparsity
    )
    scores = dict(zip(mask.weights(), mask.scores(), strict=True))
    with torch.no_grad():
        for score, scale in zip(scores.values(), scales, strict=True):
            score.mul_(scale)
    mask.step(sparsity)

    # Masked one by one, by score: the input weights up to their sparsity; the others, except those that their floor
    # keeps; the rest of the input weights.
    order = []
    own = sorted((value, name, i) for name in first for i, value in enumerate(scores[name].detach().flatten().tolist()))
    for place, (value, name, i) in enumerate(own):
        order.append((0 if place < round(input_sparsity * len(own)) else 2, value, name, i))
    for name in scores.keys() - set(first):
        values = scores[name].detach().flatten().tolist()
        kept = int(floor * (1.0 - sparsity) * len(values) + 1e-6)
        best = sorted(range(len(values)), key=values.__getitem__)[len(values) - kept :]
        order += [(3 if i in set(best) else 1, value, name, i) for i, value in enumerate(values)]
    expected = {(name, i) for _, _, name, i in sorted(order)[round(sparsity * len(order)) :]}
    kept_by_mask = {(name, i) for name, m in mask.masks().items() for i in m.flatten().nonzero().flatten().tolist()}
    assert kept_by_mask == expected


def test_the_threshold_is_that_of_what_is_not_first() -> None:
    mask = sparsify(pyg.GCN(FEATURES, 16, 3, 4), input_layers=["convs.0.lin.weight"], input_sparsity=0.9)
    mask.step(0.5)
    others = torch.cat([score.detach().flatten() for score in mask.scores()[1:]])
    of_others = round(0.5 * mask.num_weights) - round(0.9 * mask.scores()[0].numel())
    assert mask.threshold is not None
    assert float(mask.threshold) == float(others.kthvalue(of_others + 1).values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"input_layers": ["convs.0.weight"]},
            r"is 'convs\.0\.weight', allowed are convs\.0\.lin\.weight, convs\.1",
        ),
        (
            {"input_layers": ["convs.0.lin.weight"], "scope": "layer"},
            "allowed with scope 'global' and beside other weights",
        ),
        (
            {"input_layers": ["convs.0.lin.weight", "convs.1.lin.weight"]},
            "allowed with scope 'global' and beside other",
        ),
        (
            {"input_layers": ["convs.0.lin.weight"], "input_sparsity": 1.0},
            r"input_sparsity is 1\.0, allowed is \[0, 1\)",
        ),
    ],
)
def test_what_cannot_be_first_is_refused_and_the_model_left_alone(options: dict[str, Any], message: str) -> None:
    model = pyg.GCN(FEATURES, 16, 2, 4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        sparsify(model, **options)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_rankings_differ() -> None:
    by_score, by_magnitude = (sparsify(nn.Linear(9, 9), ranking=r) for r in ("score", "magnitude"))
    by_score.step(0.5)
    by_magnitude.step(0.5)
    assert not torch.equal(by_score.masks()["weight"], by_magnitude.masks()["weight"])


def test_ties_are_kept() -> None:
    mask = sparsify(nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        mask.scores()[0].copy_(torch.tensor([0.0] * 3 + [1.0] * 10 + [2.0] * 3).reshape(4, 4))
    mask.step(0.5)
    assert count_masked(mask) == {"weight": 3}


@pytest.mark.parametrize(("sparsity", "masked"), [(0.1, 0), (0.5, 0), (0.6, 1), (0.99, 1)])
def test_a_layer_of_one_weight(sparsity: float, masked: int) -> None:
    mask = sparsify(nn.Linear(1, 1), scope="layer")
    mask.step(sparsity)
    assert count_masked(mask) == {"weight": masked}


@pytest.mark.parametrize("sparsity", [1.0, -0.1, math.nan, math.inf])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    mask = sparsify(nn.Linear(3, 3))
    mask.step(0.5)
    before = mask.masks()["weight"]
    with pytest.raises(ValueError, match=r"allowed is \[0, 1\)"):
        mask.step(sparsity)
    assert torch.equal(mask.masks()["weight"], before)


def test_thresholds_move_only_when_a_step_is_made() -> None:
    mask = sparsify(nn.Linear(6, 6))
    assert count_masked(mask) == {"weight": 0}
    mask.step(0.5)
    with torch.no_grad():
        mask.scores()[0].add_(100.0)
    assert count_masked(mask) == {"weight": 0}
    mask.step(0.5)
    assert count_masked(mask) == {"weight": 18}


# What is trained


@pytest.mark.parametrize("network", NETWORKS)
def test_only_scores_train(network: str) -> None:
    model = randomise(NETWORKS[network]())
    frozen = {name for name, value in model.named_parameters() if value.dim() < 2}
    mask = sparsify(model, seed=1)
    before = {name: value.clone() for name, value in mask.unmasked().items() if name in frozen}
    assert before.keys() == frozen
    fingerprint, scores = mask.fingerprint(), [score.detach().clone() for score in mask.scores()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)  # every parameter is offered to it
    for step in range(5):
        mask.step(0.1 * step)
        optimizer.zero_grad()
        model(X, EDGES).square().sum().backward()
        optimizer.step()
    with_grad = [id(value) for value in model.parameters() if value.grad is not None]
    assert sorted(with_grad) == sorted(map(id, mask.scores()))
    assert mask.fingerprint() == fingerprint
    assert all(torch.equal(mask.unmasked()[name], value) for name, value in before.items())
    assert all((score != old).any() for score, old in zip(mask.scores(), scores, strict=True))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rescale", [False, True])
def test_output_and_gradients_are_those_of_the_layer_with_its_effective_weight(network: str, rescale: bool) -> None:
    """PyG's own layer with `weight * mask * density^-1/2` written into it; dL/dS = weight * scale * dL/d(effective)."""
    model = randomise(NETWORKS[network]())
    plain = copy.deepcopy(model)
    mask = sparsify(model, seed=2, rescale=rescale)
    mask.step(0.6)
    kept = masked_by_hand(mask, 0.6)
    scales, effective = {}, {}
    for name, shape in ((name, weight.shape) for name, weight in mask.weights().items()):
        density = float(kept[name].double().mean())
        scales[name] = max(density, 1.0 / shape.numel()) ** -0.5 if rescale else 1.0
        weight = random_tensor(2, "weight", name, shape, "kaiming-uniform")
        effective[name] = weight * kept[name] * scales[name]
    plain.load_state_dict(plain.state_dict() | effective)

    expected, masked = plain(X, EDGES), model(X, EDGES)
    torch.testing.assert_close(masked, expected, rtol=1e-5, atol=1e-6)
    for output in (expected, masked):
        output.sin().sum().backward()
    for name, score in zip(mask.weights(), mask.scores(), strict=True):
        weight = random_tensor(2, "weight", name, score.shape, "kaiming-uniform")
        gradient = plain.get_parameter(name).grad
        assert gradient is not None
        assert score.grad is not None
        torch.testing.assert_close(score.grad, weight * scales[name] * gradient, rtol=1e-4, atol=1e-5)
    every = [(name, score.grad, kept[name]) for name, score in zip(mask.weights(), mask.scores(), strict=True)]
    assert any(grad is not None and bool((grad[~keep] != 0).any()) for _, grad, keep in every), "masked ones, too"


def test_masked_linear_by_hand_without_autograd() -> None:
    model = nn.Linear(4, 3, bias=False)
    mask = sparsify(model, seed=3)
    mask.step(0.5)
    x, y = torch.randn(6, 4), torch.randn(6, 3)
    F.mse_loss(model(x), y, reduction="sum").backward()
    theta, keep = random_tensor(3, "weight", "weight", (3, 4), "kaiming-uniform"), masked_by_hand(mask, 0.5)["weight"]
    delta = 2.0 * (x @ (theta * keep).T - y)  # dL/d(output)
    expected = theta * (delta.T @ x)
    gradient = mask.scores()[0].grad
    assert gradient is not None
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
    assert int((gradient[~keep] != 0).sum()) == 6


def test_magnitude_turns_the_gradient_of_negative_scores_around() -> None:
    model, theta = nn.Linear(4, 3, bias=False), random_tensor(0, "weight", "weight", (3, 4), "kaiming-uniform")
    mask = sparsify(model, ranking="magnitude")
    mask.step(0.5)
    x = torch.randn(5, 4)
    model(x).sum().backward()
    score = mask.scores()[0]
    assert score.grad is not None
    torch.testing.assert_close(score.grad, score.detach().sign() * theta * x.sum(0), rtol=1e-5, atol=1e-5)


def test_rescale_is_density_to_the_minus_one_half() -> None:
    mask = sparsify(pyg.GCN(FEATURES, 16, 2, 3), rescale=True)
    assert mask.scales() == dict.fromkeys(mask.weights(), 1.0)
    mask.step(0.8)
    for name, kept in masked_by_hand(mask, 0.8).items():
        assert mask.scales()[name] == pytest.approx(float(kept.double().mean()) ** -0.5, rel=1e-6)
    plain = sparsify(pyg.GCN(FEATURES, 16, 2, 3))
    plain.step(0.8)
    assert set(plain.scales().values()) == {1.0}


def test_rescale_of_an_emptied_layer_is_finite() -> None:
    mask = sparsify(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)), rescale=True)
    with torch.no_grad():
        mask.scores()[1].fill_(-10.0)
    mask.step(0.5)
    assert not mask.masks()["1.weight"].any()
    assert mask.scales()["1.weight"] == pytest.approx(4.0)
    assert mask.model(torch.ones(1, 8)).isfinite().all()


# The same weights everywhere


def test_weights_depend_on_seed_name_and_shape_alone() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Linear(9, 9)
            self.convs = nn.ModuleList([pyg.GATConv(2, 2), pyg.GCNConv(6, 3)])

    one, two = sparsify(pyg.GCN(FEATURES, 6, 2, 3), seed=4), sparsify(Other(), seed=4)
    name = "convs.1.lin.weight"
    assert torch.equal(one.weights()[name], two.weights()[name])
    index_one, index_two = list(one.weights()).index(name), list(two.weights()).index(name)
    assert torch.equal(one.scores()[index_one], two.scores()[index_two])
    assert not torch.equal(one.weights()[name], sparsify(Other(), seed=5).weights()[name])


def test_the_models_own_initialisation_and_the_global_random_state_are_of_no_account() -> None:
    prints, scores = set(), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        mask = sparsify(pyg.GCN(FEATURES, 6, 2, 3), seed=4)
        prints.add(mask.fingerprint())
        scores.append(torch.cat([score.detach().flatten() for score in mask.scores()]))
    assert len(prints) == 1
    assert torch.equal(*scores)


def test_score_scale_and_score_init() -> None:
    plain = sparsify(nn.Linear(6, 5), seed=1)
    scaled = sparsify(nn.Linear(6, 5), seed=1, score_scale=0.25, weight_init="signed-constant")
    assert torch.equal(scaled.scores()[0], plain.scores()[0] * 0.25)
    assert scaled.weights()["weight"].unique().numel() == 2
    uniform = sparsify(nn.Linear(6, 5), seed=1, score_init="uniform")
    assert torch.equal(uniform.scores()[0], random_tensor(1, "score", "weight", (5, 6), "uniform"))


def test_gains_multiply_the_frozen_weights() -> None:
    mask = sparsify(pyg.GCN(FEATURES, 6, 2, 3), seed=4)
    before = {name: value.clone() for name, value in mask.weights().items()}
    mask.scale("convs.0.lin.weight", 3.0)
    mask.scale("convs.0.lin.weight", 0.1)
    assert mask.gains() == {"convs.0.lin.weight": pytest.approx(0.3), "convs.1.lin.weight": 1.0}
    torch.testing.assert_close(mask.weights()["convs.0.lin.weight"], before["convs.0.lin.weight"] * 0.3)
    assert torch.equal(mask.weights()["convs.1.lin.weight"], before["convs.1.lin.weight"])


# Copies and compilation


@pytest.mark.parametrize("network", ["linear", "gcn of two layers", "gat"])
def test_deepcopy(network: str) -> None:
    mask = sparsify(randomise(NETWORKS[network]()), rescale=True)
    mask.step(0.4)
    before = mask.model.eval()(X, EDGES).detach()
    twin = copy.deepcopy(mask.model)
    assert torch.equal(twin(X, EDGES), before)
    both = copy.deepcopy(mask)
    both.step(0.8)
    assert both.sparsity() > mask.sparsity()
    assert not torch.equal(both.model(X, EDGES), before)
    assert torch.equal(mask.model(X, EDGES), before)
    twin(X, EDGES).sum().backward()
    assert all(score.grad is None for score in mask.scores())


def test_torch_compile_of_the_whole_graph() -> None:
    """Traced without a break, forward and backward; thresholds are inputs, so that a step needs no new trace."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    mask = sparsify(model, rescale=True)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(6, 4)
    for sparsity in (0.0, 0.5, 0.8):
        mask.step(sparsity)
        gradients = []
        for run in (model, compiled):
            output = run(x)
            gradients.append([output.detach(), *torch.autograd.grad(output.square().sum(), mask.scores())])
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (pyg.GCN(-1, 6, 2, 3), "convs.0.lin.weight is not initialised"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()),
            "1.weight is torch.float64, allowed is torch.float32",
        ),
        (nn.BatchNorm1d(4), "no parameter with two or more axes"),
        (nn.ReLU(), "no parameter with two or more axes"),
    ],
)
def test_models_that_can_not_be_masked_are_refused_untouched(model: nn.Module, message: str) -> None:
    before = list(model.state_dict())
    trainable = [value.requires_grad for value in model.parameters()]
    with pytest.raises(ValueError, match=message):
        sparsify(model)
    assert list(model.state_dict()) == before
    assert [value.requires_grad for value in model.parameters()] == trainable


def test_a_model_is_not_masked_twice() -> None:
    model = pyg.GCN(FEATURES, 6, 2, 3)
    mask = sparsify(model)
    with pytest.raises(ValueError, match=r"convs.0.lin.weight is masked already"):
        sparsify(model)
    assert mask.fingerprint() == sparsify(pyg.GCN(FEATURES, 6, 2, 3)).fingerprint()


# Over ranks


def _train(rank: int, floor: float, input_sparsity: float) -> tuple[list[str], list[int]]:
    """Masks after a few steps, as bits; the initialised process group is used by default."""
    model = pyg.GCN(FEATURES, 16, 3, 4)
    first = ["convs.0.lin.weight"] if input_sparsity else []
    mask = sparsify(model, scope="global", min_layer_density=floor, input_layers=first, input_sparsity=input_sparsity)
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)
    thresholds, masked = [], []
    for step in range(4):
        mask.step(0.25 * step)
        thresholds.append(float(model.convs[0].lin.parametrizations.weight[0].threshold).hex())
        masked.append(sum(count_masked(mask).values()))
        optimizer.zero_grad()
        model(X, EDGES).square().sum().backward()
        optimizer.step()
    assert dist.is_initialized() == (mask.process_group is not None)
    return thresholds, masked


@pytest.mark.parametrize(("floor", "input_sparsity"), [(0.0, 0.0), (0.5, 0.0), (0.5, 0.6)])
def test_ranks_agree_with_one_process_bit_for_bit(floor: float, input_sparsity: float) -> None:
    alone = _train(0, floor, input_sparsity)
    assert spawn(2, _train, floor, input_sparsity) == [alone, alone]
    total = 16 * (FEATURES + 16 + 4)
    assert alone[1] == [round(0.25 * step * total) for step in range(4)]
