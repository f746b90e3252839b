from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.replay import by_make_fx
from tests.training.helpers import config, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.finite import all_of
from ugts_dist.recorded import Record
from ugts_dist.supermask import Targets
from ugts_dist.tasks import NodeTask
from ugts_dist.training.recorded_step import RecordedStep, StepInputs
from ugts_dist.training.trainer import make_trainer

STEPS = 20
FULL = {"batch__size": 0, "batch__fan_out": (), "batch__micro_batches": 1}
DEEP = {
    **FULL,
    "model__depth": 16,
    "model__skip": "initial",
    "model__identity": 0.2,
    "model__dropout": 0.8,
    "model__dropout_at": "input",
    "supermask__min_layer_density": 0.3,
    "supermask__weight_init": "balanced",
    "optim__weight_decay": 0.001,
    "optim__schedule": "cosine",
}
SETTINGS: dict[str, dict[str, Any]] = {
    **{arch: {**FULL, "model__arch": arch, "model__dropout": 0.5} for arch in ("gcn", "gat", "gin", "sage")},
    "gcn, deep": {**DEEP, "model__arch": "gcn"},
    "gat, deep": {**DEEP, "model__arch": "gat"},
    "dense": {**FULL, "supermask__method": "dense", "model__dropout": 0.5},
    "thresholds of layers": {**FULL, "supermask__method": "edge-popup"},
    "an input layer, coats": {**FULL, "supermask__input_sparsity": 0.5, "supermask__coats": 3},
    "all nodes in a norm": {**FULL, "model__norm": "pairnorm"},
    "a method's ranking": {**FULL, "supermask__ranking": "magnitude", "supermask__signed": True},
}


def trained(settings: Config, record: Record | None) -> tuple[list[Tensor], list[Tensor]]:
    """The losses of some steps, between which sparsity, learning rate and masks change, and what they trained."""
    trainer = make_trainer(settings, NodeTask(planted_graph()), Ranks())
    if record is not None:
        trainer.record(record)
    losses = []
    for epoch in range(STEPS):
        losses.append(trainer.epoch(epoch, 0.04 * epoch, 0.01 / (1 + epoch)).clone())
        trainer.progress.next_epoch()
        if epoch % 3 == 0:
            trainer.mask(0.8)  # as an evaluation does
    if record is not None:
        assert trainer.repeats_steps
    return losses, [value.clone() for value in all_of(trainer.tensors())]


@pytest.mark.parametrize("name", SETTINGS)
def test_repeated_steps_have_the_bits_of_eager_ones(name: str) -> None:
    settings = config(**SETTINGS[name])
    losses, state = trained(settings, None)
    assert len({float(loss) for loss in losses}) > STEPS // 2
    repeated, same = trained(settings, by_make_fx)
    assert all(torch.equal(one, other) for one, other in zip(losses, repeated, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(state, same, strict=True))


def test_targets_of_another_structure_are_recorded_anew() -> None:
    scores, lr = torch.zeros(3), torch.zeros(())
    recorded: list[int] = []

    def step(inputs: StepInputs) -> Tensor:
        assert inputs.targets is not None
        scores.add_(inputs.targets.ranks.sum() * lr + inputs.number)
        return scores.sum()

    def record(function: Any) -> Any:
        recorded.append(len(recorded))
        return by_make_fx(function)

    one, two = (
        Targets((((0,),),), torch.tensor([k]), emptied, None, None)
        for k, emptied in ((3, None), (5, torch.tensor([[True]])))
    )
    repeated = RecordedStep(step, lr, lambda: [scores], record)
    expected = 0.0
    for number in range(24):
        targets = one if number < 8 or number >= 16 else two
        repeated(number, 0.5, targets)
        expected += 0.5 * (3 if targets is one else 5) + number
        assert scores.tolist() == [expected] * 3
    assert len(recorded) == 3
    assert one.ranks.tolist() == [3]
