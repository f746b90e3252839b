"""Flipped bits and cut files, of every kind of file: a part of those that `python -m tests.faults.flips` tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.flips import examined


@pytest.mark.usefixtures("one_thread_each")
def test_a_hundred_damaged_files(tmp_path: Path) -> None:
    cases = list(examined(range(120), tmp_path / "place"))
    failed = [ascii(f"{case.number}: {case.file}: {case.damage}: {case.problem}") for case in cases if case.problem]
    assert not failed, "\n".join(failed)
    outcomes = {case.outcome for case in cases}
    assert {"refused", "named and passed over", "the same result", "another result; --verify finds it"} <= outcomes
    assert {case.file.partition("/")[0] for case in cases} >= {"store", "stopped", "run", "ticket", "safetensors"}
