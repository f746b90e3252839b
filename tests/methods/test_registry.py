"""The registry of masking methods."""

from __future__ import annotations

from pathlib import Path

import pytest

import ugts_dist.methods
from ugts_dist.methods import METHODS, Method
from ugts_dist.registry import load_classes


def test_every_file_has_its_line() -> None:
    """A method without its line would not be available."""
    files = {path.stem for path in Path(ugts_dist.methods.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert files == {name.replace("-", "_") for name in METHODS}


def test_every_method_says_what_it_is() -> None:
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    assert all(method.summary and not method.summary.endswith(".") for method in METHODS.values())
    assert not METHODS["ugts"].has_rank


def test_a_line_with_another_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"ugts_dist\.methods: Ramp of 'base' is .*, allowed is a subclass of Method"):
        load_classes("ugts_dist.methods", Method, {"base": "Ramp"})
