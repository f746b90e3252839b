"""Flipped bits and cut files, of every kind of file: a part of those that `python -m tests.faults.flips` tries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.flips import Case, examined
from tests.trials.child import in_child


@pytest.mark.usefixtures("one_thread_each")
@pytest.mark.parametrize("numbers", [range(40), pytest.param(range(40, 160), marks=pytest.mark.slow)], ids=str)
def test_damaged_files(tmp_path: Path, numbers: range) -> None:
    # Forks of a process in which autograd ran can't train where torch is built for GPUs.
    cases = [Case(**one) for one in json.loads(in_child(tried, tmp_path / "place", numbers))]
    assert len(cases) == len(numbers)
    failed = [ascii(f"{case.number}: {case.file}: {case.damage}: {case.problem}") for case in cases if case.problem]
    assert not failed, "\n".join(failed)
    outcomes = {case.outcome for case in cases}
    assert {"refused", "named and passed over", "the same result", "another result; --verify finds it"} <= outcomes
    assert {case.file.partition("/")[0] for case in cases} >= {"store", "stopped", "run", "ticket", "safetensors"}


def tried(place: Path, numbers: range) -> str:
    return json.dumps([vars(case) for case in examined(numbers, place)])
