"""Calibration of networks for which one forward pass is not enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.trials.case import case
from tests.trials.networks import EDGES, X
from ugts_dist import calibrate, sparsify


def levels(model: nn.Module, layers: list[nn.Module], forward: Callable[[], Any]) -> str:
    """Root mean square of the layers' outputs over all calls after a calibration, and what it warns of."""
    mask, outputs = sparsify(model), [[] for _ in layers]  # type: ignore[var-annotated]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrate(mask, forward)
    for layer, inputs in zip(layers, outputs, strict=True):
        plain = layer.forward

        def noted(x: Tensor, plain: Any = plain, inputs: list[Tensor] = inputs) -> Tensor:
            inputs.append(plain(x))
            return inputs[-1]

        layer.forward = noted
    with (
        torch.no_grad(),
        torch.compiler.set_stance("force_eager"),
    ):  # code that was compiled before would call the old ones
        forward()
    told = [f"{float(torch.cat(inputs).square().mean().sqrt()):.2f}" for inputs in outputs]
    return " ".join([*told, *(str(one.message) for one in caught)])


@case(r"^(1\.0[01]|0\.99) (1\.0[01]|0\.99)$")
def biases(folder: Path) -> str:
    """Layers with biases and features of a small scale"""
    model = nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 3))
    return levels(model, [model[0], model[2]], lambda: model(0.01 * X))


@case(r"^(1\.0[01]|0\.99)$")
def called_twice(folder: Path) -> str:
    """A layer that is applied twice"""
    layer = nn.Linear(4, 4)
    model = nn.ModuleList([layer, layer])
    return levels(model, [layer], lambda: layer(layer(3 * X)))


@case(r"^(1\.0[01]|0\.99)( 1\.0[01]| 0\.99){2}$")
def mix_hop(folder: Path) -> str:
    """The linear layers inside of MixHopConv"""
    model = pyg.MixHopConv(4, 8)
    return levels(model, list(model.lins), lambda: model(X, EDGES))


@case(r"^(1\.0[01]|0\.99)( 1\.0[01]| 0\.99){2}$")
def chebyshev(folder: Path) -> str:
    """The linear layers inside of ChebConv"""
    model = pyg.ChebConv(4, 8, K=3)
    return levels(model, list(model.lins), lambda: model(X, EDGES))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Linear(4, 8), nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.attention(x, x, x)[0]
        return out


@case(r"calibration: attention\.out_proj\.weight keep their scale: the forward pass does not call their modules$")
def attention(folder: Path) -> str:
    """MultiheadAttention, which reads the weight of out_proj without calling it"""
    model = Attention()
    return levels(model, [model.first], lambda: model(X))


@case(r"^(1\.0[01]|0\.99)$")
def compiled_before(folder: Path) -> str:
    """A model that was compiled and called before it is calibrated"""
    model = nn.Sequential(nn.Linear(4, 3))
    run: Any = torch.compile(model, backend="eager")
    run(X)
    return levels(model, [model[0]], lambda: run(X))
