"""Figures of a study by their metric: in percent or in units, and which side of the published figure is the better."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.experiments.test_study import VALUES
from ugts_dist.checkpointing.result_file import write_result
from ugts_dist.experiments.grid import run_key
from ugts_dist.experiments.known import Known, load_known
from ugts_dist.experiments.measured import Measured, measure
from ugts_dist.experiments.page import figures_section
from ugts_dist.experiments.study import Study, study_of
from ugts_dist.metrics import METRICS
from ugts_dist.report.page import Cell, Table

PUBLISHED = 0.3


def one_cell(published: float = PUBLISHED, fields: Mapping[str, Any] = MappingProxyType({})) -> Study:
    """A study of two runs."""
    panel = {**VALUES["panels"][0], "published": "digits"}
    row = {"label": "UGTs", "preset": "ours", "published": "ugts", "flat": True}
    values = {**VALUES, "panels": [panel], "rows": [row], "columns": {}, "seeds": 2, "fields": fields}
    return study_of("two", values, {"digits": {"ugts": published}})


def measured(tmp_path: Path, study: Study, metric: str, values: tuple[float, float]) -> dict[str, Measured]:
    """The figures of runs that end with these test metrics."""
    for config, test in zip(study.cells[0].configs, values, strict=True):
        folder = tmp_path / run_key(config)
        folder.mkdir()
        result: dict[str, Any] = {"epoch": 1, "valid": test, "test": test, "sparsity": 0.5, "seconds": 1.0}
        result |= {"test_any": test, "test_last": test, "path": "best.ticket", "bytes": 100, "metric": metric}
        write_result(folder, result)
    return measure(study, tmp_path, Known())


def table_of(study: Study, figures: dict[str, Measured]) -> Table:
    (table,) = [block for block in figures_section(study, figures).blocks if isinstance(block, Table)]
    return table


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("lower", [True, False])
def test_a_figure_is_shown_by_its_metric(tmp_path: Path, name: str, lower: bool) -> None:
    error = name in ("rmse", "mae")
    study = one_cell(PUBLISHED if error else 100 * PUBLISHED)
    values = (0.1, 0.12) if lower else (0.5, 0.52)
    table = table_of(study, measured(tmp_path, study, METRICS[name].title, values))
    (_, published), (_, cell) = table.rows
    assert isinstance(cell, Cell)
    mean, difference = ("0.11", "-0.19") if lower else ("0.51", "+0.21")
    expected = f"{mean} ± 0.01414 ({difference})"
    if not error:
        expected = "11.0 ± 1.4 (-19.0)" if lower else "51.0 ± 1.4 (+21.0)"
    assert cell == Cell(expected, "better" if lower == error else "worse")
    assert published == Cell("0.3" if error else "30.0") or published == ("0.3" if error else "30.0")
    unit = "" if error else " in %"
    assert table.headings[0] == f"Digits, test {METRICS[name].title}{unit}; sparsity"


@pytest.mark.parametrize(("metric", "values"), [("RMSE", (1e-5, 2e-5)), ("MAE", (12345.678, 2.0)), ("R2", (0.5, 0.25))])
def test_known_figures_are_the_same_as_those_of_runs(tmp_path: Path, metric: str, values: tuple[float, float]) -> None:
    study = one_cell()
    figures = measured(tmp_path, study, metric, values)
    cells = [each.to_dict() for each in figures.values()]
    scale = 100 if metric == "R2" else 1
    assert cells[0]["values"] == pytest.approx([scale * value for value in values], rel=1e-5)
    (tmp_path / "two.json").write_text(json.dumps({"study": "two", "measure": "test", "cells": cells}))
    known = measure(study, tmp_path / "nowhere", load_known(tmp_path))
    assert [each.to_dict() for each in known.values()] == cells
    assert table_of(study, known) == table_of(study, figures)


def test_figures_of_older_reproductions_are_in_percent(tmp_path: Path) -> None:
    study = one_cell(90.0)
    figures = measured(tmp_path, study, "accuracy", (0.5, 0.52))
    cells = [{name: value for name, value in each.to_dict().items() if name != "metric"} for each in figures.values()]
    (tmp_path / "two.json").write_text(json.dumps({"study": "two", "measure": "test", "cells": cells}))
    table = table_of(study, measure(study, tmp_path / "nowhere", load_known(tmp_path)))
    assert table.headings[0] == "Digits; sparsity"
    assert re.fullmatch(r"51\.0 ± 1\.4 \(-39\.0\)", str(getattr(table.rows[1][1], "text", "")))


def test_errors_of_older_reproductions_get_the_units_of_the_targets(tmp_path: Path) -> None:
    study = one_cell(fields={"task.kind": "regression", "task.metric": "rmse"})
    (cell,) = study.cells
    plain = {"runs": [run_key(config) for config in cell.configs], "values": [50.0, 52.0]}
    (tmp_path / "two.json").write_text(json.dumps({"study": "two", "measure": "test", "cells": [plain]}))
    (figures,) = measure(study, tmp_path / "nowhere", load_known(tmp_path)).values()
    assert figures.values == (0.5, 0.52)
    assert figures.metric is METRICS["rmse"]


def test_known_figures_of_one_run_have_the_metrics_of_their_studies(tmp_path: Path) -> None:
    study = one_cell()
    (cell,) = study.cells
    plain = {"runs": [run_key(config) for config in cell.configs], "values": [1.0, 2.0]}
    for name, of, metric in (("a", "ood", "ROC-AUC"), ("b", "test", "MAE"), ("c", "ood", "ROC-AUC")):
        values = {"study": name, "measure": of, "cells": [{**plain, "metric": metric}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    known = load_known(tmp_path)
    (figures,) = measure(study, tmp_path / "nowhere", known).values()
    assert figures.metric is METRICS["mae"]
    assert figures.values == (1.0, 2.0)
