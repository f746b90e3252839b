"""What is known of a study's cells: the figures of their finished runs, in percent."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.analysis.ood import roc_auc_of
from ugts_dist.atomic import write_text
from ugts_dist.experiments.grid import failure, finished, run_key
from ugts_dist.experiments.study import Cell, Study
from ugts_dist.training.ranks import Ranks

Value = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Measured:
    """A cell and the figures of its finished runs.

    Attributes:
        cell: of a study.
        values: in percent, by seed, of those that are finished.
        problem: why one of the others has none, where that is known.
        seconds: that the finished runs took, together.
    """

    cell: Cell
    values: tuple[float, ...]
    problem: str = ""
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Of the finished runs; there must be one."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (with n - 1); 0 for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def difference(self) -> float | None:
        """To the published figure, in points."""
        if not self.values or self.cell.published is None:
            return None
        return self.mean - self.cell.published

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the JSON beside a page."""
        return {
            "panel": self.cell.panel,
            "row": self.cell.row,
            "column": self.cell.column,
            "published": self.cell.published,
            "runs": [run_key(config) for config in self.cell.configs],
            "values": [round(value, 4) for value in self.values],
            "mean": round(self.mean, 4) if self.values else None,
            "deviation": round(self.deviation, 4) if self.values else None,
            "problem": self.problem,
        }


def measure(study: Study, store: Path, value: Value) -> dict[str, Measured]:
    """Each cell of a study, by its label; `value` reads the study's measure from a run's result."""
    return {cell.label: _measured(cell, store, value) for cell in study.cells}


def _measured(cell: Cell, store: Path, value: Value) -> Measured:
    results = [(config, finished(config, store)) for config in cell.configs]
    found = [result for _, result in results if result is not None]
    problems = (failure(config, store) for config, result in results if result is None)
    return Measured(
        cell,
        tuple(100.0 * value(result) for result in found),
        next(filter(None, problems), ""),
        sum(result["seconds"] for result in found),
    )


def unknown_auc(result: dict[str, Any]) -> float:
    """ROC-AUC of telling unknown classes, of a finished run; computed once and kept beside it."""
    file = Path(result["path"]).parent / "ood.json"
    if not file.exists():
        write_text(file, json.dumps({"roc_auc": roc_auc_of(Path(result["path"]), Ranks())}))
    return float(json.loads(file.read_text(encoding="utf-8"))["roc_auc"])


def test_metric(result: dict[str, Any]) -> float:
    """Accuracy, or ROC-AUC of molecules, on the test set at the best validation epoch."""
    return float(result["test"])
