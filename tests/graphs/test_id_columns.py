"""Columns of ids in tables of labels are used or refused, and never become labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ugts_dist.graphs.column_names import ends_like_id

from .stores import make, random_parts, refusal, write_parts

NUM_NODES = 50
RNG = np.random.default_rng(3)
IDS = 1000 + RNG.permutation(NUM_NODES * 7)[:NUM_NODES]
AGE, SCORE = RNG.integers(20, 60, NUM_NODES), RNG.normal(0.0, 1.0, NUM_NODES)


def files_of(folder: Path, labels: pd.DataFrame, ids: str = "") -> dict[str, str]:
    """Files of a graph with these labels. The features have ids if their column has a name."""
    parts = random_parts(NUM_NODES, 400)
    files = write_parts(folder, parts)
    labels.to_csv(folder / "labels.csv", index=False)
    files["labels"] = str(folder / "labels.csv")
    if ids:
        features = pd.DataFrame({ids: np.arange(NUM_NODES)}).join(pd.DataFrame(parts["features"]).add_prefix("x"))
        features.to_csv(folder / "features.csv", index=False)
        files["features"] = str(folder / "features.csv")
    return files


@pytest.mark.parametrize("name", ["paper", "user_id"])
def test_ids_behind_labels_are_refused(tmp_path: Path, name: str) -> None:
    files = files_of(tmp_path, pd.DataFrame({"age": AGE, "score": SCORE, name: IDS}))
    why = "has another entry in each row, as ids have" if name == "paper" else "has a name that ids have"
    told = (
        f"{files['labels']}: column '{name}' {why}; allowed: --id-column {name}, --id-column none, or "
        "--label-columns with those of labels"
    )
    assert refusal(tmp_path, files) == told
    wanted: list[dict[str, Any]] = [{"id_column": "none"}, {"label_columns": ("age", "score")}]
    widths = [make(tmp_path / str(n), files, **options).y.shape[1] for n, options in enumerate(wanted)]
    assert widths == [3, 2]


def test_ids_with_a_repeated_row_are_refused(tmp_path: Path) -> None:
    files = files_of(tmp_path, pd.DataFrame({"user_id": [IDS[1], *IDS[1:]], "age": AGE}))
    assert "column 'user_id' has a name that ids have; allowed: --id-column user_id, " in refusal(tmp_path, files)


@pytest.mark.parametrize("options", [{}, {"label_columns": ("age", "score")}])
def test_ids_have_another_name_in_the_features(tmp_path: Path, options: dict[str, Any]) -> None:
    """`--id-column` names the column of the features; the labels are in another order."""
    order = RNG.permutation(NUM_NODES)
    files = files_of(tmp_path, pd.DataFrame({"id": order, "age": AGE[order], "score": SCORE[order]}), ids="person")
    y = make(tmp_path / "out", files, id_column="person", **options).y
    np.testing.assert_array_equal(y.numpy(), np.stack([AGE, SCORE], 1).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "expected"), [("user_id", True), ("paperID", True), ("class_id", False), ("y", False)]
)
def test_names_like_ids(name: str, expected: bool) -> None:
    assert ends_like_id(name) == expected
