"""A model's own checkpoints: `state_dict` has everything that determines its masks and ticket, or is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.processes import spawn
from tests.supermask.networks import FEATURES, NETWORKS, graph, randomise
from ugts_dist import Supermask, Ticket, calibrate, sparsify

X, EDGES = graph()
OPTIONS: dict[str, Any] = {"seed": 3, "weight_init": "signed-constant", "rescale": True, "min_layer_density": 0.1}


def trained(network: str, **options: Any) -> Supermask:
    """A mask with gains, changed scores, thresholds and scales."""
    mask = sparsify(randomise(NETWORKS[network]()), **(OPTIONS | options))
    for number, name in enumerate(mask.weights()):
        mask.scale(name, 1.1 + number)
    optimizer = torch.optim.Adam(mask.scores(), lr=0.1)
    for _ in range(2):
        mask.step(0.6)
        optimizer.zero_grad()
        mask.model.train()(X, EDGES).square().sum().backward()
        optimizer.step()
    mask.step(0.7)
    mask.model.eval()
    return mask


def content(ticket: Ticket) -> list[Any]:
    tensors = {name: value.tolist() for name, value in (ticket.masks | ticket.unmasked).items()}
    return [ticket.recipe, ticket.gains, ticket.scales, ticket.fingerprint, tensors]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_state_is_loaded_by_the_model_that_it_is_of(network: str) -> None:
    mask = trained(network)
    before = content(Ticket.of(mask))
    state = mask.model.state_dict()
    assert not {*mask.weights()} & {*state}
    mask.model.load_state_dict(copy.deepcopy(state))
    assert content(Ticket.of(mask)) == before


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_another_model_goes_on_from_a_state(network: str, kind: str, tmp_path: Path) -> None:
    mask = trained(network)
    if kind == "torch":
        torch.save(mask.model.state_dict(), tmp_path / "a")
        state = torch.load(tmp_path / "a", weights_only=True)
    else:
        safetensors.torch.save_file(mask.model.state_dict(), tmp_path / "a")
        state = safetensors.torch.load_file(tmp_path / "a")
    again = sparsify(NETWORKS[network](), **OPTIONS)
    again.fingerprint()
    again.step(0.1)
    assert again.model.load_state_dict(state)
    assert again.threshold is None
    assert content(Ticket.of(again)) == content(Ticket.of(mask))
    assert torch.equal(again.model.eval()(X, EDGES), mask.model(X, EDGES))
    plain = Ticket.of(again).apply(NETWORKS[network]())
    assert torch.equal(plain(X, EDGES), mask.model(X, EDGES))
    for one in (mask, again):
        one.step(0.8)
    assert content(Ticket.of(again)) == content(Ticket.of(mask))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 4}, r"seed 3 \(here 4\)"),
        ({"weight_init": "uniform"}, r"weight_init 'signed-constant' \(here 'uniform'\)"),
        ({"rescale": False}, r"rescale True \(here False\)"),
        ({"scope": "layer"}, r"scope 'global' \(here 'layer'\)"),
        ({"ranking": "magnitude"}, r"ranking 'score' \(here 'magnitude'\)"),
        ({"min_layer_density": 0.0}, r"min_layer_density 0.1 \(here 0.0\)"),
        (
            {"input_layers": ["convs.0.lin.weight"], "input_sparsity": 0.5},
            r"input_layers \(\) .*, input_sparsity 0.0 \(here 0.5\)",
        ),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_other_options_is_refused_and_nothing_of_it_loaded(
    options: dict[str, Any], message: str, strict: bool
) -> None:
    state = trained("gcn of two layers").model.state_dict()
    mask = sparsify(NETWORKS["gcn of two layers"](), **(OPTIONS | options))
    before = copy.deepcopy(mask.model.state_dict())
    with pytest.raises(ValueError, match=rf"^state of convs.0.lin.weight has [^\n]*{message}; allowed is the state"):
        mask.model.load_state_dict(state, strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in mask.model.state_dict().items())
    part = {name.removeprefix("convs.1."): value for name, value in state.items() if name.startswith("convs.1.")}
    with pytest.raises(ValueError, match=message):
        mask.model.get_submodule("convs.1").load_state_dict(part, strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in mask.model.state_dict().items())


def without(state: dict[str, Tensor], end: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith(end)}


def test_a_state_without_gains_never_becomes_a_ticket() -> None:
    state = without(trained("gcn of two layers").model.state_dict(), "_extra_state")
    mask = sparsify(NETWORKS["gcn of two layers"](), **OPTIONS)
    before = mask.fingerprint()
    with pytest.raises(RuntimeError, match=r"Missing key.*convs\.0\.lin\.parametrizations\.weight\.0\._extra_state"):
        mask.model.load_state_dict(state)
    mask.model.load_state_dict(state, strict=False)
    assert mask.fingerprint() != before
    with pytest.raises(ValueError, match=r"convs\.0\.lin\.weight is not what seed 3, signed-constant and gain 1 give"):
        Ticket.of(mask)


@pytest.mark.parametrize(
    "state",
    [
        torch.zeros(3, dtype=torch.uint8),
        torch.zeros(3),
        torch.frombuffer(bytearray(b'{"gain": "nan"}'), dtype=torch.uint8),
        torch.frombuffer(bytearray(b'{"gain": "0x1p+0", "seed": 3, "weight_init": "x"}'), dtype=torch.uint8),
        torch.frombuffer(bytearray(b"[" * 100_000), dtype=torch.uint8),
        {"gain": 1.0},
        None,
    ],
)
def test_a_damaged_state_is_refused(state: object) -> None:
    mask = sparsify(nn.Linear(3, 2))
    held = mask.model.state_dict()
    with pytest.raises(ValueError, match=r"^state of weight is damaged: "):
        mask.model.load_state_dict({**held, "parametrizations.weight.0._extra_state": state})


# The ticket has the current weights


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.mul_(2.0),
        lambda weight: weight.data.mul_(2.0),
        lambda weight: weight.copy_(weight.flip(0)),
        lambda weight: weight.numpy().__setitem__((0, 0), 7.0),
    ],
    ids=["in place", "data", "the same values in another order", "numpy"],
)
def test_changed_weights_are_noticed(change: Callable[[Tensor], Any]) -> None:
    mask = sparsify(nn.Linear(5, 4, bias=False))
    before = Ticket.of(mask).fingerprint
    with torch.no_grad():
        change(mask.weights()["weight"].detach())
    with pytest.raises(ValueError, match="weight is not what seed 0, kaiming-uniform and gain 1 give: it was changed"):
        Ticket.of(mask)
    assert mask.fingerprint() != before
    mask.scale("weight", 1.0)  # draws them again
    assert Ticket.of(mask).fingerprint == before


def test_weights_are_regenerated_only_after_they_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, drawn = trained("gcn of two layers"), []
    original = type(next(iter(mask._entries.values()))).regenerated

    def counted(entry: Any, recipe: Any) -> Tensor:
        drawn.append(entry.site.name)
        return original(entry, recipe)

    monkeypatch.setattr("ugts_dist.supermask.masked.Entry.regenerated", counted)
    for sparsity in (0.1, 0.2, 0.3):
        mask.step(sparsity)
        Ticket.of(mask)
    assert drawn == list(mask.weights())
    mask.scale("convs.1.lin.weight", 2.0)
    Ticket.of(mask)
    Ticket.of(mask)
    assert drawn == [*mask.weights(), "convs.1.lin.weight", *mask.weights()]


def test_a_mask_that_was_taken_out_or_replaced_is_refused() -> None:
    def removed(mask: Supermask) -> None:
        nn.utils.parametrize.remove_parametrizations(mask.model.get_submodule("convs.0.lin"), "weight")

    def replaced(mask: Supermask) -> None:
        mask.model.set_submodule("convs.0", pyg.GCNConv(FEATURES, 6))

    def removed_layer(mask: Supermask) -> None:
        mask.model.set_submodule("convs.1", nn.Identity())

    def added(mask: Supermask) -> None:
        mask.model.more = nn.Linear(3, 3)

    for change, message in (
        (removed, r"convs\.0\.lin\.weight is no longer masked: use the mask before remove_parametrizations"),
        (replaced, r"convs\.0\.lin\.weight belongs to a module that the model no longer has: sparsify"),
        (removed_layer, r"convs\.1\.lin\.weight belongs to a module that the model no longer has: sparsify"),
        (added, r"more\.weight was added after sparsify and is not masked: sparsify the model again"),
    ):
        mask = sparsify(NETWORKS["gcn of two layers"]())
        change(mask)
        with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
            Ticket.of(mask)


def test_the_state_of_a_layer_whose_mask_was_taken_out_has_its_weight() -> None:
    mask = sparsify(pyg.Linear(3, 2))
    nn.utils.parametrize.remove_parametrizations(mask.model, "weight")
    assert {"weight", "bias"} == {*mask.model.state_dict()}
    pyg.Linear(3, 2).load_state_dict(mask.model.state_dict())


# Copies, casts, compilation, ranks


def test_copies_and_casts_keep_the_state() -> None:
    mask = trained("gcn of two layers")
    expected = content(Ticket.of(mask))
    twin = copy.deepcopy(mask)
    for one in (twin, mask):
        one.model.float().to("cpu")
        one.model.load_state_dict(copy.deepcopy(one.model.state_dict()))
        assert content(Ticket.of(one)) == expected
    lone = copy.deepcopy(mask.model)
    assert lone.load_state_dict(mask.model.state_dict())
    with pytest.raises(ValueError, match=r"seed 4 \(here 3\)"):
        lone.load_state_dict(trained("gcn of two layers", seed=4).model.state_dict())


def test_a_compiled_model_loads_a_state() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    mask = sparsify(model, seed=1)
    mask.step(0.5)
    state, x = copy.deepcopy(model.state_dict()), torch.randn(6, 4)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    expected = compiled(x)
    mask.scale("0.weight", 3.0)
    assert not torch.allclose(compiled(x), expected)
    compiled.load_state_dict({f"_orig_mod.{name}": value for name, value in state.items()})
    torch.testing.assert_close(compiled(x), expected)
    assert mask.gains() == {"0.weight": 1.0, "2.weight": 1.0}


def _over_ranks(rank: int) -> list[Any]:
    """A state taken from one wrapped model and loaded by another, on each rank."""
    states: list[dict[str, Tensor]] = []
    for sparsity in (0.5, 0.8):
        mask = sparsify(NETWORKS["gcn of two layers"](), **OPTIONS)
        wrapped = DistributedDataParallel(mask.model)
        if states:
            wrapped.load_state_dict(states[0])
        mask.step(sparsity)
        wrapped(X * (1 + rank), EDGES).square().sum().backward()
        with torch.no_grad():
            for score in mask.scores():
                assert score.grad is not None
                score.sub_(score.grad)
        mask.scale("convs.0.lin.weight", 1.5)
        mask.step(sparsity)
        states.append(copy.deepcopy(wrapped.state_dict()))
    return [content(Ticket.of(mask)), mask.gains()["convs.0.lin.weight"]]


def test_ranks_load_a_state_alike() -> None:
    one, other = spawn(2, _over_ranks)
    assert one == other
    assert one[1] == 2.25


def test_a_calibrated_state_is_taken_over() -> None:
    mask = sparsify(NETWORKS["gcn of two layers"](), rescale=True)
    calibrate(mask, lambda: mask.model(X, EDGES))
    again = sparsify(NETWORKS["gcn of two layers"](), rescale=True)
    again.model.load_state_dict(mask.model.state_dict())
    assert again.gains() == mask.gains() != dict.fromkeys(mask.weights(), 1.0)
    assert Ticket.of(again).fingerprint == Ticket.of(mask).fingerprint
