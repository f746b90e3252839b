"""Columns that are constant or of an extreme scale are named when a graph is prepared, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.helpers import planted_graph
from ugts_dist.cli import main
from ugts_dist.graphs import column_notes as module
from ugts_dist.graphs.column_notes import column_notes
from ugts_dist.graphs.traits import Traits

SCALE = "--data.features standardize of ugts train brings all to one scale"


def table(*scales: float) -> Tensor:
    """Columns of 200 nodes with these deviations around the mean 5."""
    x = np.random.default_rng(0).normal(size=(200, len(scales)))
    return torch.from_numpy(5 + (x - x.mean(0)) / x.std(0) * np.array(scales)).float()


def test_usual_columns_are_not_named() -> None:
    assert list(column_notes(table(1, 2, 0.5, 90))) == []
    assert list(column_notes(table(1))) == []


@pytest.mark.parametrize(
    ("scales", "notes"),
    [
        ((1, 0, 1), ["feature 1 is constant: the same number for all nodes"]),
        ((0, 1, 0, 0, 0, 0), ["features 0, 2, 3 and 2 more are constant: the same number for all nodes"]),
        ((0, 0), ["features 0, 1 are constant: the same number for all nodes"]),
        (
            (1, 2, 5000, 2),
            [f"feature 2 is of another scale than most (2: 2.5e+03 times the median deviation); {SCALE}"],
        ),
        ((1, 0.001, 1), [f"feature 1 is of another scale than most (1: 0.001 times the median deviation); {SCALE}"]),
    ],
)
def test_constant_and_extreme_columns_are_named(scales: tuple[float, ...], notes: list[str]) -> None:
    assert list(column_notes(table(*scales))) == notes


def test_a_huge_table_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 599)
    assert list(column_notes(table(0, 0, 0))) == []


def test_prepare_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "edges.npy", rng.integers(0, 200, size=(400, 2)))
    np.save(tmp_path / "x.npy", table(1, 0, 5000, 2).numpy())
    np.save(tmp_path / "y.npy", np.arange(200) % 3)
    files = {"edges": "edges.npy", "features": "x.npy", "labels": "y.npy"}
    parts = [f"--{part}={tmp_path / file}" for part, file in files.items()]
    main(["prepare", "own", *parts, "--split-random", "60/20/20", "--out", str(tmp_path / "own")])
    lines = capsys.readouterr().err.splitlines()
    assert "prepare own: feature 1 is constant: the same number for all nodes" in lines
    assert any(line.startswith("prepare own: feature 2 is of another scale than most") for line in lines)


def test_the_spread_of_a_graph() -> None:
    graph = planted_graph()
    x = table(*[1.0] * 15, 300.0)
    x = torch.cat([x, x[:100]])
    seen = Traits.of(replace(graph, x=x))
    deviation = x.double().std(0, correction=0)
    assert seen.spread == pytest.approx(float(deviation.max() / deviation.median()), rel=1e-6)
    assert Traits.of(replace(graph, x=torch.ones(300, 16))).spread == 0
