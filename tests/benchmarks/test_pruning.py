"""Training after pruning, and the choice of a setting by the validation metric."""

from __future__ import annotations

from dataclasses import replace

import pruning
import pytest
import torch
from bytes_report import Measured, best_rows
from measured_files import Point

from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import make_trainer


@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_pruned_stays_zero_and_the_rest_is_trained(parts: int) -> None:
    task, ranks = NodeTask(planted_graph()), Ranks()
    settings = config(supermask__method="dense", run__epochs=3, optim__weight_decay=1e-3, batch__micro_batches=parts)
    measure = task.evaluator(settings, ranks)
    state = pruning.pruned(make_trainer(settings, task, ranks).method.model.state_dict(), 0.7)
    tuned = pruning.tuned(state, settings, task, ranks, measure)
    assert tuned.keys() == state.keys()
    for name, value in tuned.items():
        assert (value[state[name] == 0] == 0).all()
        assert not torch.equal(value, state[name])
    model = task.network(settings)
    valid = []
    for weights in (state, tuned):
        model.load_state_dict(weights)
        valid.append(measure.measure(model, torch.zeros(()))[0]["valid"])
    assert valid[1] > valid[0]


def test_each_curve_is_that_of_the_setting_with_the_best_mean_validation_metric() -> None:
    point = Point("ticket", 0.9, 100, 100, valid=0.5, test=0.9)
    measured = [
        Measured("UGTs", "a", 0, point),
        Measured("UGTs", "a", 1, replace(point, valid=0.9, test=0.5)),
        Measured("UGTs", "b", 0, replace(point, valid=0.8, test=0.6, bytes=140)),
        Measured("UGTs", "b", 1, replace(point, valid=0.8, test=0.4, bytes=120)),
        Measured("UGTs", "unfinished", 0, replace(point, valid=1.0)),
        Measured("Edge-Popup", "a", 0, point),
    ]
    ours, other = best_rows(measured)
    assert (ours.setting, ours.test, ours.bytes, ours.seeds) == ("b", 0.5, 130, 2)
    assert ours.deviation == pytest.approx(0.2 / 2**0.5)
    assert (other.variant, other.test, other.seeds) == ("Edge-Popup", 0.9, 1)
