"""What a trial reports: some of its epochs, the same on every rank, and never the test metric."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.helpers import config
from tuning.work import REPORTS, reporter, spaced
from ugts_dist.metrics import METRICS

MEASURED = {"sparsity": 0.5, "loss": 1.0, "valid": 0.75, "test": 0.7, "lr": 0.01}


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (20, 1), (400, 1), (400, 3), (1000, 50)])
def test_a_run_tells_not_too_many_epochs(epochs: int, every: int) -> None:
    told: list[dict[str, Any]] = []
    on_epoch = reporter(config(run__epochs=epochs, supermask__ramp=0.0), told.append)
    evaluated = [epoch for epoch in range(epochs) if (epoch + 1) % every == 0 or epoch + 1 == epochs]
    for epoch in evaluated:
        on_epoch(epoch, MEASURED, METRICS["accuracy"])
    assert 1 <= len(told) <= REPORTS + 1
    assert len(told) >= min(len(evaluated), REPORTS // 2)
    assert {values["epoch"] for values in told} <= {*evaluated}
    assert all("test" not in values for values in told)


def test_epochs_are_spaced_but_the_end_is_always_told() -> None:
    told: list[dict[str, Any]] = []
    now = 0.0
    report = spaced(told.append, 0.5, lambda: now)
    for epoch in range(10):
        now = 0.2 * epoch
        report({"epoch": epoch})
    report({"finished": True})
    assert told == [{"epoch": 0}, {"epoch": 3}, {"epoch": 6}, {"epoch": 9}, {"finished": True}]
