"""Gradient norms against PyG's own layers with the masked weights as ordinary ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.evaluation.test_evaluator import edge_index, plain_layer
from tests.training.helpers import config, planted_graph
from ugts_dist.analysis.gradients import batches_of_a_step, gradient_norms
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.tasks import NodeTask, build_model
from ugts_dist.training.methods import TicketSearch
from ugts_dist.training.trainer import Trainer, make_trainer

FULL = {"batch__size": 0, "batch__fan_out": [], "model__depth": 3}


def trained(settings: Config, epochs: int) -> Trainer:
    training = make_trainer(settings, NodeTask(planted_graph()), Ranks())
    for epoch in range(epochs):
        training.epoch(epoch, training.method.schedule(epoch), 0.01)
        training.progress.next_epoch()
    training.mask(training.method.schedule(epochs))
    return training


def found_norms(training: Trainer, settings: Config) -> dict[str, float]:
    method, step = training.method, batches_of_a_step(training.batches, 0)
    return gradient_norms(method.model, method.trained(), NodeTask(planted_graph()), step, Ranks())


def plain_copy(training: Trainer, settings: Config) -> nn.Module:
    """The network with its masked weights as parameters."""
    method, plain = training.method, build_model(settings, planted_graph())
    if isinstance(method, TicketSearch):
        masks, scales = method.mask.masks(), method.mask.scales()
        weights = {name: w * masks[name] * scales[name] for name, w in method.mask.weights().items()}
        plain.load_state_dict(weights | method.mask.unmasked())
    else:
        plain.load_state_dict(copy.deepcopy(method.model.state_dict()))
    return plain


def pyg_gradients(model: Any) -> dict[str, Tensor]:
    """The gradients of the mean training loss by PyG's layers, under PyG's names."""
    graph, layers = planted_graph(), nn.ModuleList(plain_layer(conv) for conv in model.convs)
    x = graph.x
    for k, layer in enumerate(layers):
        x = layer(x, edge_index(graph))
        x = x.relu() if k < len(layers) - 1 else x
    F.cross_entropy(x[graph.train], graph.y[graph.train]).backward()
    return {name: value.grad for name, value in layers.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("arch", ["gcn", "gat", "gin", "sage"])
@pytest.mark.parametrize("method", ["ugts", "dense"])
def test_norms_are_those_of_pygs_layers(arch: str, method: str) -> None:
    settings = config(model__arch=arch, supermask__method=method, **FULL)
    training = trained(settings, 8)
    norms = found_norms(training, settings)
    plain = plain_copy(training, settings)
    squares = {"1": 0.0, "2": 0.0, "3": 0.0}
    for name, gradient in pyg_gradients(plain).items():
        weight = plain.get_parameter(f"convs.{name}")
        squares[str(int(name.split(".")[0]) + 1)] += float((gradient * (weight != 0)).square().sum())
    assert norms == pytest.approx({layer: square**0.5 for layer, square in squares.items()}, rel=1e-3)
    masked = [bool((plain.get_parameter(name) == 0).any()) for name, _ in plain.named_parameters()]
    assert all(masked) == (method == "ugts")


def test_a_layer_that_is_wholly_masked_has_none() -> None:
    settings = config(**FULL)
    training = trained(settings, 1)
    first = training.method.model.convs[0].lin.parametrizations.weight[0]  # type: ignore[index,union-attr]
    first.threshold.fill_(torch.inf)
    assert found_norms(training, settings)["1"] == 0.0


def test_scores_keep_their_gradients() -> None:
    settings = config(**FULL)
    training = trained(settings, 1)
    for score in training.method.trained().values():
        score.grad = torch.full_like(score, 3.0)
    found_norms(training, settings)
    assert all(
        bool((score.grad == 3.0).all()) for score in training.method.trained().values() if score.grad is not None
    )


def test_the_parts_of_a_step_add_up() -> None:
    norms = []
    for parts in (1, 3):
        settings = config(batch__micro_batches=parts, batch__fan_out=[-1, -1], batch__size=60)
        training = make_trainer(settings, NodeTask(planted_graph()), Ranks())
        training.mask(0.5)
        norms.append(found_norms(training, settings))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_what_is_no_convolution_has_its_own_name() -> None:
    settings = config(model__arch="gin-paper", **FULL)
    assert list(found_norms(trained(settings, 1), settings)) == ["1", "2", "3", "skip"]
