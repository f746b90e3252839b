from __future__ import annotations

from collections.abc import Iterable

import pytest
from matplotlib.figure import Figure

from tests.experiments.test_study import study
from ugts_dist.experiments.measured import Measured
from ugts_dist.experiments.plots import draw


def test_published_curves_are_in_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def legend(figure: Figure, handles: Iterable[object], names: Iterable[str], **options: object) -> None:
        labels.extend(names)

    monkeypatch.setattr(Figure, "legend", legend)
    made = study()
    figures = {cell.label: Measured(cell, tuple(90.0 for _ in cell.configs)) for cell in made.cells}
    assert draw(made, figures).startswith(b"\x89PNG")
    assert labels == ["UGTs", "UGTs: published", "dense"]
