from __future__ import annotations

from pathlib import Path

import pytest

from tests.trials.case import Case, all_cases, case


@pytest.mark.parametrize("trial", all_cases(), ids=lambda trial: f"{trial.topic}: {trial.name}")
def test_every_trial_is_as_expected(trial: Case, tmp_path: Path) -> None:
    seen = trial.seen(tmp_path)
    assert trial.holds(seen), f"expected {trial.expected!r}, seen {seen!r}"


def test_a_case_that_fails_is_seen(tmp_path: Path) -> None:
    @case("^right$")
    def wrong(folder: Path) -> str:
        """Something that goes wrong."""
        raise KeyError(folder.name)

    seen = wrong.seen(tmp_path)
    assert not wrong.holds(seen)
    assert "KeyError" in seen
