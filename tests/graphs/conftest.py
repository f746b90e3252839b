"""The folder of the real data, and an environment in which no test reads or changes the user's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real datasets: UGTS_DATA, otherwise shared/data beside the repository."""
    given = os.environ.get("UGTS_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not root.is_dir():
        pytest.skip("needs real datasets: set UGTS_DATA to a folder that has them")
    return root


@pytest.fixture(autouse=True)
def _own_home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "data_root" in request.fixturenames:
        request.getfixturevalue("data_root")  # reads UGTS_DATA before it is taken away
    monkeypatch.delenv("UGTS_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
