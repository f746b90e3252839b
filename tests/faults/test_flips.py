"""Flipped bits and cut files, of every kind of file: a part of those that `python -m tests.faults.flips` tries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.flips import Case, examined
from tests.trials.child import in_child


@pytest.mark.usefixtures("one_thread_each")
def test_a_hundred_damaged_files(tmp_path: Path) -> None:
    # Forks of a process in which autograd ran can't train where torch is built for GPUs.
    cases = [Case(**one) for one in json.loads(in_child(tried, tmp_path / "place"))]
    assert len(cases) == 120
    failed = [ascii(f"{case.number}: {case.file}: {case.damage}: {case.problem}") for case in cases if case.problem]
    assert not failed, "\n".join(failed)
    outcomes = {case.outcome for case in cases}
    assert {"refused", "named and passed over", "the same result", "another result; --verify finds it"} <= outcomes
    assert {case.file.partition("/")[0] for case in cases} >= {"store", "stopped", "run", "ticket", "safetensors"}


def tried(place: Path) -> str:
    return json.dumps([vars(case) for case in examined(range(120), place)])
