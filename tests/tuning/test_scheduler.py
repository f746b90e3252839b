"""ASHA compares similar trials, and only after the ramp."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tuning.helpers import SMALL, space
from tuning.manifest import Manifest
from tuning.plan import Trial, list_trials
from tuning.scheduler import TIME, AshaBySparsity, after_ramp, band_of
from ugts_dist.config import Config

EPOCHS, RAMP, GRACE = 40, 20, 5


def trials(*sparsities: float) -> list[Trial]:
    text = SMALL.replace("[0.5, 0.9]", str(list(sparsities))).replace('epochs" = 12', f'epochs" = {EPOCHS}')
    return list_trials(space(text.replace("[0.01, 0.05]", "[0.01, 0.02, 0.03, 0.04, 0.05, 0.06]")))


def known(trial: Trial) -> Any:
    return SimpleNamespace(trial_id=trial.key, config={"trial": {"config": trial.config.to_dict()}})


def stopped_at(scheduler: AshaBySparsity, trial: Trial, valid: float, metric: str = "accuracy") -> int | None:
    """The epoch in which a trial of this metric is stopped."""
    scheduler.on_trial_add(None, known(trial))
    for epoch in range(EPOCHS):
        told = {TIME: after_ramp(trial.config, epoch), "valid": valid, "metric": metric}
        if scheduler.on_trial_result(None, known(trial), told) == "STOP":
            return epoch
    return None


def test_weak_trials_are_stopped_but_not_before_the_ramp_and_the_grace() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    ends = [stopped_at(scheduler, trial, 0.9 - 0.1 * i) for i, trial in enumerate(trials(0.9))]
    assert ends[0] is None
    assert {end for end in ends[1:] if end is not None} == {RAMP + GRACE - 1}


def test_of_an_error_the_highest_are_stopped() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    ends = [stopped_at(scheduler, trial, 10.0 + i, "RMSE") for i, trial in enumerate(trials(0.9))]
    assert ends[0] is None
    assert {end for end in ends[1:] if end is not None} == {RAMP + GRACE - 1}
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    assert [stopped_at(scheduler, trial, 10.0 - i, "RMSE") for i, trial in enumerate(trials(0.9))] == [None] * 6


def test_the_last_report_of_a_trial_has_no_time() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    scheduler.on_trial_add(None, known(trials(0.9)[0]))
    assert scheduler.on_trial_result(None, known(trials(0.9)[0]), {"failed": "no data"}) == "CONTINUE"


def test_a_sparse_trial_does_not_compete_with_a_dense_one() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    for trial in trials(0.1):
        stopped_at(scheduler, trial, 0.95)
    assert stopped_at(scheduler, trials(0.99)[0], 0.4) is None


def test_for_bytes_a_narrow_network_does_not_compete_with_a_wide_one() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2, objective="bytes").search)
    *first, weak = trials(0.9)
    for trial in first:
        stopped_at(scheduler, trial, 0.95)
    others: list[dict[str, Any]] = [{"model.width": 16}, {"supermask.coats": 2}, {"supermask.pruned": 0.5}]
    for change in others:
        assert stopped_at(scheduler, Trial(False, weak.fields, weak.config.replace(change)), 0.4) is None
    assert stopped_at(scheduler, weak, 0.4) is not None


def test_for_bytes_own_networks_compete_with_equal_arguments_only() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2, objective="bytes").search)

    def own(trial: Trial, width: int) -> Trial:
        fields = {
            "model.width": 256,
            "model.dropout": 0.0,
            "model.factory": "nets:build",
            "model.args": {"width": width, "heads": 2},
        }
        return Trial(False, trial.fields, trial.config.replace(fields))

    *first, weak = trials(0.9)
    for trial in first:
        stopped_at(scheduler, own(trial, 512), 0.95)
    assert stopped_at(scheduler, own(weak, 16), 0.4) is None
    assert stopped_at(scheduler, own(weak, 512), 0.4) is not None


def test_trained_dense_networks_are_never_stopped() -> None:
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    dense = trials(0.9)
    for i, trial in enumerate(dense):
        changed = Trial(True, trial.fields, trial.config.replace({"supermask.method": "dense"}))
        assert stopped_at(scheduler, changed, 0.9 - 0.1 * i) is None


@pytest.mark.parametrize("title", ["accuracy", "RMSE"])
def test_a_search_that_goes_on_compares_with_what_was_before(tmp_path: Path, title: str) -> None:
    known_trials = trials(0.9)
    for trial in known_trials[:5]:
        (tmp_path / "runs" / trial.key).mkdir(parents=True)
        lines = [f'{{"epoch": {epoch}, "valid": 0.9}}\n' for epoch in range(EPOCHS)]
        (tmp_path / "runs" / trial.key / "metrics.jsonl").write_text("".join(lines))
    scheduler = AshaBySparsity(space(scheduler="asha", grace=GRACE, reduction=2).search)
    scheduler.replay(known_trials, Manifest(tmp_path, "", title=title))
    assert stopped_at(scheduler, known_trials[5], 0.5 if title == "accuracy" else 1.5, title) == RAMP + GRACE - 1
    assert stopped_at(scheduler, trials(0.5)[0], 0.5, title) is None


@pytest.mark.parametrize(("sparsity", "band"), [(0.0, 0), (0.1, 0), (0.5, 1), (0.9, 4), (0.95, 5), (0.99, 8)])
def test_bands_are_quarters_of_a_decade_of_density(sparsity: float, band: int) -> None:
    assert band_of(sparsity) == band


def test_time_counts_from_the_end_of_the_ramp() -> None:
    config = Config().replace({"run.epochs": EPOCHS})
    assert [after_ramp(config, epoch) for epoch in (0, RAMP - 1, RAMP)] == [1 - RAMP, 0, 1]
