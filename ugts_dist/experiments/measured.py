"""The figures of a study's cells, from their finished runs: in percent, RMSE and MAE in the units of the targets."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from ugts_dist.analysis.ood import roc_auc_of
from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.experiments.grid import failure, finished, run_key
from ugts_dist.experiments.known import Known
from ugts_dist.experiments.study import Cell, Study
from ugts_dist.metrics import METRICS, Metric, by_title, title_of
from ugts_dist.spread import Spread
from ugts_dist.text_files import read_json

_OF = {"test": "test ", "valid": "validation ", "ood": ""}
# Of a figure from any source, so that a page made from JSON is the same page.
_DIGITS = 4  # after the point, of percentages
_SIGNIFICANT = 6  # of others


@dataclass(frozen=True)
class Measured:
    """A cell and the figures of its finished runs.

    Attributes:
        cell: of a study.
        figures: one per run of the cell, in percent or the units of the metric; None for an unfinished run.
        metric: of the figures.
        problem: why one of these has none, if known.
        seconds: total time of the finished runs in the store.
    """

    cell: Cell
    figures: tuple[float | None, ...]
    metric: Metric = field(default=by_title(""))
    problem: str = ""
    seconds: float = 0.0

    @property
    def values(self) -> tuple[float, ...]:
        """The figures of the finished runs, by seed."""
        return tuple(figure for figure in self.figures if figure is not None)

    @property
    def mean(self) -> float:
        """Mean over the finished runs; there must be one."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (with n - 1); 0 for a single one."""
        return Spread.of(self.values).deviation if self.values else 0.0

    @property
    def difference(self) -> float | None:
        """Difference to the published figure, in points or in the units of the metric."""
        if not self.values or self.cell.published is None:
            return None
        return self.mean - self.cell.published

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the JSON beside a page."""
        return {
            "panel": self.cell.panel,
            "row": self.cell.row,
            "column": self.cell.column,
            "metric": self.metric.title,
            "published": self.cell.published,
            "runs": [run_key(config) for config in self.cell.configs],
            "values": list(self.figures),
            "mean": rounded(self.mean, self.metric) if self.values else None,
            "deviation": rounded(self.deviation, self.metric) if self.values else None,
            "problem": self.problem,
        }


def rounded(figure: float, metric: Metric) -> float:
    """A figure with the digits that are kept of it."""
    return round(figure, _DIGITS) if metric.is_fraction else float(f"{figure:.{_SIGNIFICANT}g}")


def title_of_figures(measure: str, figures: Iterable[Measured], unknown: str = "") -> str:
    """What the figures of cells are, such as "test accuracy in %"; `unknown` is the name of an unknown metric."""
    metrics = dict.fromkeys(each.metric for each in figures if each.metric.title)
    name = " or ".join(metric.title for metric in metrics) or unknown
    unit = " in %" if all(metric.is_fraction for metric in metrics) else ""
    return f"{_OF[measure]}{name}{unit}" if name else ""


def measure(study: Study, store: Path, known: Known) -> dict[str, Measured]:
    """Each cell of a study, by its label: from the runs in the store, and from known figures."""
    return {cell.label: _measured(cell, study.measure, store, known) for cell in study.cells}


def missing(study: Study, store: Path, known: Known) -> list[Config]:
    """The runs of a study that are missing."""
    configs = (config for cell in study.cells for config in cell.configs)
    return [c for c in configs if known.figure(study.measure, c) is None and finished(c, store) is None]


def _measured(cell: Cell, measure: str, store: Path, known: Known) -> Measured:
    results = [finished(config, store) for config in cell.configs]
    metric = _metric(cell, measure, results, known)
    scale = 100.0 if metric.is_fraction else 1.0
    figures = [
        _known(config, measure, metric, known) if result is None else rounded(scale * _VALUES[measure](result), metric)
        for config, result in zip(cell.configs, results, strict=True)
    ]
    problems = (failure(config, store) for config, figure in zip(cell.configs, figures, strict=True) if figure is None)
    seconds = sum(result["seconds"] for result in results if result is not None)
    return Measured(cell, tuple(figures), metric, next(filter(None, problems), ""), seconds)


def _known(config: Config, measure: str, metric: Metric, known: Known) -> float | None:
    """The known figure of a run, with the scale of the metric."""
    figure = known.figure(measure, config)
    if figure is None or metric.is_fraction or known.metric(measure, config):
        return figure
    return rounded(figure / 100.0, metric)  # of an older reproduction


def _metric(cell: Cell, measure: str, results: Sequence[dict[str, Any] | None], known: Known) -> Metric:
    """The metric of a cell, whose runs differ only by seed and split; that of the configuration before their end."""
    if measure == "ood":
        return METRICS["roc-auc"]
    titles = [str(result.get("metric", "")) for result in results if result is not None]
    titles += [known.metric(measure, config) for config in cell.configs]
    task = cell.configs[0].task
    return by_title(next(filter(None, titles), "") or title_of(task.metric, task.kind))


def _unknown_auc(result: dict[str, Any]) -> float:
    """ROC-AUC of the detection of unknown classes for a finished run; computed once and stored beside it."""
    file = Path(result["path"]).parent / "ood.json"
    if not file.exists():
        write_text(file, json.dumps({"roc_auc": roc_auc_of(Path(result["path"]), Ranks())}))
    return float(read_json(file, "a ROC-AUC")["roc_auc"])


# Of a finished run: the metric on the test set at the best validation epoch, and on the validation set; ROC-AUC.
_VALUES: dict[str, Callable[[dict[str, Any]], float]] = {
    "test": itemgetter("test"),
    "valid": itemgetter("valid"),
    "ood": _unknown_auc,
}
