from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.processes import spawn
from tests.supermask.networks import FEATURES, graph
from ugts_dist import InputError, Ticket, calibrate, sparsify

X, EDGES = graph()


def output_rms(model: nn.Module, modules: list[nn.Module]) -> list[float]:
    """Root mean square of each module's output, by hooks of our own."""
    levels: dict[int, float] = {}

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        levels[id(module)] = float(output.double().pow(2).sum() / output.numel()) ** 0.5

    handles = [module.register_forward_hook(note) for module in modules]
    with torch.no_grad():
        model(X, EDGES)
    for handle in handles:
        handle.remove()
    return [levels[id(module)] for module in modules]


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("final", [1.0, 3.0])
def test_every_layers_output_has_the_asked_root_mean_square(sparsity: float, rescale: bool, final: float) -> None:
    model = pyg.GCN(FEATURES, 32, 4, 3)
    mask = sparsify(model, rescale=rescale)
    lins = [conv.lin for conv in model.convs]
    before = output_rms(model, lins)
    assert all(abs(level - 1.0) > 0.01 for level in before)
    gains = calibrate(mask, lambda: model(X, EDGES), sparsity=sparsity, levels={lins[-1]: final})
    assert output_rms(model, lins) == pytest.approx([1.0, 1.0, 1.0, final], rel=1e-5)
    assert gains == mask.gains() == Ticket.of(mask).gains
    assert gains.keys() == {f"convs.{k}.lin.weight" for k in range(4)}
    assert mask.sparsity() == pytest.approx(sparsity, abs=1 / mask.num_weights)


def test_named_layers_and_weights() -> None:
    """Two weights of one layer share a gain; a layer that is not named keeps its own scale."""
    model = pyg.GraphSAGE(FEATURES, 16, 3, 4, bias=False)
    mask = sparsify(model)
    names = {model.convs[k]: [f"convs.{k}.lin_l.weight", f"convs.{k}.lin_r.weight"] for k in (0, 2)}
    gains = calibrate(mask, lambda: model(X, EDGES), names, levels={model.convs[2]: 0.5})
    assert output_rms(model, list(names)) == pytest.approx([1.0, 0.5], rel=1e-5)
    assert gains["convs.0.lin_l.weight"] == gains["convs.0.lin_r.weight"]
    assert mask.gains()["convs.1.lin_l.weight"] == 1.0


def test_hooks_are_gone_afterwards_and_scores_untouched() -> None:
    model = pyg.GCN(FEATURES, 8, 2, 3)
    mask = sparsify(model)
    scores = [score.detach().clone() for score in mask.scores()]
    calibrate(mask, lambda: model(X, EDGES))
    first = mask.gains()
    model(X, 3 * EDGES % 11)
    assert mask.gains() == first
    assert all(torch.equal(score, old) for score, old in zip(mask.scores(), scores, strict=True))
    again = calibrate(mask, lambda: model(X, EDGES))  # what is calibrated already is left alone
    assert mask.gains() == pytest.approx(first, rel=1e-5)
    assert list(again.values()) == pytest.approx([1.0, 1.0], rel=1e-5)


@pytest.mark.parametrize(("value", "level"), [(0.0, "0.0"), (float("nan"), "nan"), (float("inf"), "(inf|nan)")])
def test_an_output_without_scale_is_refused(value: float, level: str) -> None:
    model = pyg.GCN(FEATURES, 8, 2, 3)
    mask = sparsify(model)
    with pytest.raises(InputError, match=rf"output of convs.0.lin.weight has root mean square {level} at sparsity 0.0"):
        calibrate(mask, lambda: model(torch.full_like(X, value), EDGES))
    assert mask.gains() == dict.fromkeys(mask.weights(), 1.0)
    assert not model.convs[0].lin._forward_hooks


def test_a_model_without_matrices_needs_named_layers() -> None:
    mask = sparsify(nn.Conv1d(2, 3, 2))
    with pytest.raises(ValueError, match="no layer owns a masked matrix"):
        calibrate(mask, lambda: None)


# Layers for which one pass is not enough


def biased(scale: float) -> nn.Sequential:
    """Two linear layers whose biases have this root mean square."""
    model = nn.Sequential(nn.Linear(FEATURES, 40), nn.ReLU(), nn.Linear(40, 30))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bias in (model.get_parameter("0.bias"), model.get_parameter("2.bias")):
            drawn = torch.randn(bias.shape, generator=generator)
            bias.copy_(scale * drawn / drawn.square().mean().sqrt())
    return model


@pytest.mark.parametrize("scale", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("features", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_biases_do_not_keep_a_layer_from_its_level(scale: float, features: float, sparsity: float) -> None:
    model = biased(scale)
    mask = sparsify(model, rescale=True)
    calibrate(mask, lambda: model(features * X), sparsity=sparsity)
    with torch.no_grad():
        hidden = model[0](features * X)
        levels = [float(out.square().mean().sqrt()) for out in (hidden, model[2](hidden.relu()))]
    assert levels == pytest.approx([1.0, 1.0], rel=0.01)
    assert Ticket.of(mask).gains == mask.gains()


class Repeated(nn.Module):
    """Layers that are applied several times in turn."""

    def __init__(self, times: int, width: int = FEATURES) -> None:
        super().__init__()
        self.first, self.second, self.times = nn.Linear(width, width, bias=False), nn.Linear(width, width), times
        self.outputs: dict[nn.Module, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.outputs = {self.first: [], self.second: []}
        for _ in range(self.times):
            for layer in (self.first, self.second):
                x = layer(x)
                self.outputs[layer].append(x.detach())
        return x


@pytest.mark.parametrize("times", [2, 3, 4])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_layer_that_is_called_several_times_has_its_level_over_all_calls(times: int, scale: float) -> None:
    model = Repeated(times)
    mask = sparsify(model)
    calibrate(mask, lambda: model(scale * X))
    model(scale * X)
    for outputs in model.outputs.values():
        assert float(torch.stack(outputs).square().mean().sqrt()) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: pyg.MixHopConv(FEATURES, 8, powers=[0, 1, 2]), ["lins.0", "lins.1", "lins.2"]),
        (lambda: pyg.ChebConv(FEATURES, 8, K=3), ["lins.0", "lins.1", "lins.2"]),
    ],
)
def test_layers_that_are_not_called_by_way_of_hooks(make: Callable[[], nn.Module], layers: list[str]) -> None:
    model = make()
    mask = sparsify(model)
    calibrate(mask, lambda: model(X, EDGES))
    levels, forward = {}, pyg.Linear.forward

    def noted(module: nn.Module, x: Tensor) -> Tensor:
        levels[module] = forward(module, x)
        return levels[module]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyg.Linear, "forward", noted)
        model(X, EDGES)
    assert levels.keys() == {model.get_submodule(name) for name in layers}
    assert [float(out.detach().square().mean().sqrt()) for out in levels.values()] == pytest.approx([1.0] * 3, rel=0.01)
    assert not any("forward" in vars(module) for module in model.modules())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(FEATURES, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.input(x)[None])


def test_layers_that_can_not_be_measured_are_named() -> None:
    model = Attention().eval()
    mask = sparsify(model)
    message = (
        r"^calibration: attention\.self_attn\.out_proj\.weight keep their scale: "
        r"the forward pass does not call their modules$"
    )
    with pytest.warns(UserWarning, match=message):
        gains = calibrate(mask, lambda: model(X))
    assert gains.keys() == {"input.weight", "attention.linear1.weight", "attention.linear2.weight"}
    assert mask.gains()["attention.self_attn.out_proj.weight"] == 1.0
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_layer_whose_bias_alone_is_over_its_level_is_named_and_keeps_the_first_gain() -> None:
    model, calls = biased(2.0), []
    mask = sparsify(model)
    with pytest.warns(UserWarning, match=r"the output of 0\.weight has root mean square 2\.\d+, and no gain was"):
        gains = calibrate(mask, lambda: calls.append(model(X)))
    assert gains.keys() == {"0.weight", "2.weight"}
    assert all(0.1 < gain < 10 for gain in gains.values())
    assert len(calls) < 100


def test_a_forward_pass_with_dropout_is_not_corrected_for_ever() -> None:
    model, calls = nn.Sequential(nn.Linear(FEATURES, 30), nn.Dropout(0.5), nn.Linear(30, 3)), []
    mask = sparsify(model)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"gave different outputs, as with dropout: call model\.eval\(\) before"):
        calibrate(mask, lambda: calls.append(model(0.01 * X)))
    assert len(calls) == 3


def test_gains_that_are_right_at_once_keep_their_bits() -> None:
    """The gain of a linear layer is its level over the first measurement, and nothing is corrected."""
    model = pyg.GCN(FEATURES, 8, 2, 3)
    lins, calls = [conv.lin for conv in model.convs], []
    mask = sparsify(model)
    measured = float(lins[0](X).detach().double().square().mean().sqrt())
    gains = calibrate(mask, lambda: calls.append(model(X, EDGES)))
    assert gains["convs.0.lin.weight"] == 1.0 / measured
    assert len(calls) == 2


def test_a_model_that_was_compiled_and_called_before_is_calibrated() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
    mask = sparsify(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled(X)
    calibrate(mask, lambda: compiled(X))
    assert float(compiled(X).detach().square().mean().sqrt()) == pytest.approx(1.0, rel=0.01)
    torch.testing.assert_close(compiled(X), model(X))


def _over_ranks(rank: int) -> tuple[dict[str, float], float]:
    """Each rank has other data; biases make corrections necessary."""
    model = biased(0.7)
    mask = sparsify(model)
    calibrate(mask, lambda: model((1 + 3 * rank) * X))
    return mask.gains(), float(model[0](X).detach().square().mean().sqrt())


def test_all_ranks_have_the_gains_of_the_first() -> None:
    one, other = spawn(2, _over_ranks)
    assert one == other
    assert one[1] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": math.nan}, "sparsity is nan, allowed is"),
        ({"sparsity": 1.0}, r"sparsity is 1\.0, allowed is"),
        ({"levels": {0: math.nan}}, r"level of 0\.weight is nan, allowed is a number from"),
        ({"levels": {0: 0.0}}, r"level of 0\.weight is 0\.0, allowed"),
        ({"levels": {1: 1.0}}, "levels has ReLU, allowed are modules that are among the layers"),
        ({"layers": {0: ["0.bias"]}}, r"weight of a layer is '0\.bias', allowed are 0\.weight, 2\.weight"),
        ({"layers": {0: ["0.weight"], 2: ["0.weight"]}}, r"layers has 0\.weight twice, allowed is one layer"),
        ({"layers": {}}, "name the layers"),
    ],
)
def test_arguments_that_are_not_allowed(arguments: dict[str, Any], message: str) -> None:
    model = biased(0.1)
    mask = sparsify(model)
    named: dict[str, Any] = {
        key: {model[place]: entry for place, entry in value.items()} if isinstance(value, dict) else value
        for key, value in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        calibrate(mask, lambda: model(X), **named)
    assert mask.gains() == {"0.weight": 1.0, "2.weight": 1.0}


def test_what_can_not_be_calibrated_at_all() -> None:
    mask = sparsify(nn.Sequential(nn.Linear(FEATURES, 3)))
    with pytest.raises(InputError, match=r"the forward pass calls no module of 0\.weight"):
        calibrate(mask, lambda: None)
    with pytest.raises(TypeError, match="mask is Sequential and forward function, allowed are a Supermask and a"):
        calibrate(mask.model, lambda: None)  # type: ignore[arg-type]
    faint = sparsify(nn.Linear(FEATURES, 3, bias=False))
    with pytest.raises(
        InputError, match=r"calibration of weight .*: gain is .*e\+2\d, allowed is a number of magnitude 2"
    ):
        calibrate(faint, lambda: faint.model(1e-25 * X))
