"""Analyses of a network that predicts several labels or targets: those of its layers work, those of classes refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tasks.test_kinds import graph_of
from tests.training.helpers import config
from ugts_dist.analysis.base import Analysis
from ugts_dist.analysis.kinds import ANALYSES
from ugts_dist.analysis.kinds.gradients import Gradients
from ugts_dist.analysis.kinds.training import Training
from ugts_dist.analysis.subject import Source, open_subject
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.perturb import left_out_classes
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.training.run import run


@pytest.fixture(scope="module", params=["multilabel", "regression"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of a graph of numbers."""
    folder = tmp_path_factory.mktemp(request.param)
    write_store(graph_of(request.param), folder / "graph")
    full: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
    settings = config(data__name=str(folder / "graph"), run__folder=str(folder / "run"), run__epochs=4, **full)
    return run(settings, Ranks())[1]


def source(path: Path) -> Source:
    return Source(path, Ranks(), Named(), "")


@pytest.mark.parametrize("name", ["calibration", "ood", "robustness", "tsne"])
def test_what_needs_classes_refuses(path: Path, name: str) -> None:
    options: Analysis = ANALYSES[name](str(path))
    with pytest.raises(
        InputError, match=re.escape(f"{path}/best.ticket: a network that predicts numbers of ")
    ) as error:
        options.measure(source(path))
    assert str(error.value).endswith("; allowed is one that predicts classes")


def test_what_looks_at_layers_works(path: Path) -> None:
    for name in ("mad", "gradients"):
        assert ANALYSES[name](str(path)).measure(source(path))().rows
    assert Training(str(path), every=2).measure(source(path))().rows


def test_gradients_are_those_of_the_loss_of_the_task(path: Path) -> None:
    """Against autograd on all training nodes, with the loss written out."""
    subject = open_subject(path, Ranks())
    graph, model = subject.graph, subject.model
    measured = Gradients(str(path)).measure(source(path))().values
    y = graph.y[graph.train].double()
    (batch,) = subject.task.batches(subject.config, Ranks()).epoch(0)
    outputs = model(batch.x, batch.blocks, None).double()
    known = ~y.isnan()
    if known.all():  # targets
        scaled = (y - y.mean(0)) / y.std(0, correction=0)
        loss = (outputs - scaled).square().mean()
    else:
        each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, y.nan_to_num(), reduction="none")
        loss = each[known].sum() / y.numel()
    weights = [weight for name, weight in model.named_parameters() if name.startswith("convs.0.")]
    (gradient,) = torch.autograd.grad(loss, weights)
    norm = float(gradient[weights[0] != 0].norm())
    found = next(value for key, value in _flat(measured) if key == "1")
    assert found == pytest.approx(norm, rel=1e-4)


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs = [(key, value) for key, value in values.items() if not isinstance(value, dict)]
    return pairs + [pair for value in values.values() if isinstance(value, dict) for pair in _flat(value)]


def test_no_class_can_be_left_out() -> None:
    with pytest.raises(InputError, match=r"data\.left_out is 0\.4, allowed is 0, as .* has numbers and no classes"):
        left_out_classes(graph_of("multilabel"), 0.4, 0)
