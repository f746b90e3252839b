"""The registry of analyses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ugts_dist.analysis import kinds
from ugts_dist.analysis.base import Analysis
from ugts_dist.analysis.kinds import ANALYSES


def test_every_file_has_its_line() -> None:
    """An analysis without its line would not be available."""
    files = {path.stem for path in Path(kinds.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == {name.replace("-", "_") for name in ANALYSES}


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_has_help_and_measures(name: str) -> None:
    assert ANALYSES[name].__doc__
    assert ANALYSES[name].measure is not Analysis.measure
