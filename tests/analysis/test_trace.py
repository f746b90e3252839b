"""Measuring a training does not change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.helpers import config
from ugts_dist.analysis import trace as trace_module
from ugts_dist.analysis.gradients import batches_of_a_step, gradient_norms
from ugts_dist.analysis.smoothing import mad
from ugts_dist.analysis.trace import trace_training
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.configured import load_graph
from ugts_dist.tasks import NodeTask
from ugts_dist.training import fit
from ugts_dist.training.run import run
from ugts_dist.training.trainer import Trainer


def kept(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Trainer]:
    """The trainings that a module makes from now on."""
    made: list[Trainer] = []

    make: Callable[..., Trainer] = module.make_trainer

    def kept_trainer(*args: Any, **options: Any) -> Trainer:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(module, "make_trainer", kept_trainer)
    return made


@pytest.mark.parametrize(
    "settings",
    [
        config(run__epochs=6, model__dropout=0.3),
        config(run__epochs=4, batch__size=0, batch__fan_out=[], optim__schedule="cosine"),
        config(run__epochs=4, supermask__method="dense", optim__weight_decay=1e-3),
    ],
)
def test_the_scores_go_the_way_of_the_run(settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, observed = kept(monkeypatch, fit), kept(monkeypatch, trace_module)
    run(settings.replace({"run.folder": str(tmp_path / "run")}), Ranks())
    trace_training(settings, 1)
    ours, theirs = observed[0].method.trained(), runs[0].method.trained()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_seen_is_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, made = config(run__epochs=7), kept(monkeypatch, trace_module)
    trace = trace_training(settings, 3)
    assert trace.epochs == [0, 3, 6, 7]
    assert trace.layers == ["1", "logits"]
    assert trace.weights == ["1", "2"]
    schedule = made[0].method.schedule
    assert trace.sparsity == [schedule(epoch) for epoch in trace.epochs]
    assert trace.sparsity[0] == 0.0
    assert trace.sparsity[-1] == 0.9
    # The last measurement again, by hand: the network has not changed since.
    graph, method = load_graph(settings), made[0].method
    logits = Evaluator(graph, Ranks()).logits(method.model)  # type: ignore[arg-type]
    assert trace.mad[-1][1] == pytest.approx(mad(logits), rel=1e-6)
    step = batches_of_a_step(made[0].batches, 6)
    norms = gradient_norms(method.model, method.trained(), NodeTask(graph), step, Ranks())
    assert trace.gradients[-1] == list(norms.values())
    assert len(set(map(tuple, trace.mad))) == len(trace.epochs)


def test_the_first_and_the_last_state_are_always_seen() -> None:
    assert trace_training(config(run__epochs=3), 100).epochs == [0, 3]


def test_mistakes_are_refused_as_in_a_run() -> None:
    with pytest.raises(InputError, match=r"data\.split: 10 is not a split of texas"):
        trace_training(Config().replace({"data.name": "texas", "data.split": 10}), 1)


def test_own_networks_are_refused_in_a_line() -> None:
    settings = config(model__factory="nets.py:build", model__width=256, model__dropout=0.0)
    with pytest.raises(InputError, match=r"^model\.factory is nets\.py:build, allowed is none: layers of own networks"):
        trace_training(settings, 1)
