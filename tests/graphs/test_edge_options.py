"""Columns of edges have one role each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.graphs.stores import make, random_parts, refusal
from tests.graphs.test_edge_files import table, with_edges


def files_of(folder: Path) -> dict[str, Any]:
    parts = random_parts(50, 400)
    columns = {name: parts["edges"].sum(1) + first for name, first in (("weight", 0), ("length", 1), ("cost", 2))}
    return with_edges(folder, parts, table(parts, **columns))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"edge_weight": "source"}, "--edge-weight: 'source' has an end of the edges"),
        ({"edge_weight": "2"}, "--edge-weight: '2' has an end of the edges"),
        ({"edge_features": ("cost", "target")}, "--edge-features: 'target' has an end of the edges"),
        ({"edge_features": ("cost", "cost")}, "--edge-features: 'cost' is chosen twice"),
        ({"edge_features": ("cost", "5")}, "--edge-features: '5' is chosen twice"),
        ({"edge_weight": "cost", "edge_features": ("length", "cost")}, "--edge-weight: 'cost' is chosen twice"),
    ],
)
def test_a_column_has_one_role(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    told = refusal(tmp_path, files_of(tmp_path), **options)
    assert told.startswith(f"{complaint}; allowed: another column of ")
    assert "table.csv (weight, length, cost)" in told


@pytest.mark.parametrize("name", ["weight", "3"])
def test_a_feature_is_not_the_weight_by_its_name(tmp_path: Path, name: str) -> None:
    """By name or number."""
    graph = make(tmp_path / "out", files_of(tmp_path), edge_features=(name,))
    assert graph.edge_weight is None
    assert graph.edge_attr is not None
