from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.supermask.networks import FEATURES, graph
from ugts_dist import InputError, Ticket, calibrate, sparsify

X, EDGES = graph()


def output_rms(model: nn.Module, modules: list[nn.Module]) -> list[float]:
    """Root mean square of each module's output, by hooks of our own."""
    found: dict[int, float] = {}

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found[id(module)] = float(output.double().pow(2).sum() / output.numel()) ** 0.5

    handles = [module.register_forward_hook(note) for module in modules]
    with torch.no_grad():
        model(X, EDGES)
    for handle in handles:
        handle.remove()
    return [found[id(module)] for module in modules]


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
