from __future__ import annotations

from collections.abc import Iterable

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.experiments.test_study import study
from ugts_dist.experiments.measured import Measured
from ugts_dist.experiments.plots import draw
from ugts_dist.metrics import by_title


def test_the_axis_names_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, label, **options: named.append(label))
    made = study()
    for metric in ("accuracy", "RMSE", ""):
        figures = {
            cell.label: Measured(cell, tuple(0.5 for _ in cell.configs), by_title(metric)) for cell in made.cells
        }
        draw(made, figures)
    assert list(dict.fromkeys(named)) == ["test accuracy in %", "test RMSE", "test metric in %"]


def test_published_curves_are_in_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def legend(figure: Figure, handles: Iterable[object], names: Iterable[str], **options: object) -> None:
        labels.extend(names)

    monkeypatch.setattr(Figure, "legend", legend)
    made = study()
    figures = {cell.label: Measured(cell, tuple(90.0 for _ in cell.configs)) for cell in made.cells}
    assert draw(made, figures).startswith(b"\x89PNG")
    assert labels == ["UGTs", "UGTs: published", "dense"]
