"""Figures of an earlier reproduction, so that runs whose folders are gone need not be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ugts_dist.analysis.trace import Trace
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.experiments.grid import run_key
from ugts_dist.experiments.study import TRACES
from ugts_dist.text_files import JSON_BYTES, parse_json, read_bytes


@dataclass(frozen=True)
class Known:
    """Figures and traces by the key of their run.

    Attributes:
        figures: by a study's measure and the key of the run; in percent or the units of the metric.
        metrics: titles of the metrics of these figures. Older reproductions have none: all their figures are in
            percent.
        traces: by the key of the run.
    """

    figures: Mapping[tuple[str, str], float] = field(default_factory=dict)
    traces: Mapping[str, Trace] = field(default_factory=dict)
    metrics: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def figure(self, measure: str, config: Config) -> float | None:
        """The figure of a run, or None."""
        return self.figures.get((measure, run_key(config)))

    def metric(self, measure: str, config: Config) -> str:
        """The title of the metric of a run's figure; empty if it is unknown."""
        return self.metrics.get((measure, run_key(config)), "")

    def trace(self, config: Config) -> Trace | None:
        """The trace of a run, or None."""
        return self.traces.get(run_key(config))


def load_known(folder: Path) -> Known:
    """Read the JSON files of a reproduction's folder.

    Raises InputError for a folder without them, and for a file that a reproduction has not written.
    """
    figures: dict[tuple[str, str], float] = {}
    traces: dict[str, Trace] = {}
    metrics: dict[tuple[str, str], str] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            study = parse_json(read_bytes(file, JSON_BYTES).decode())
            if "study" not in study:
                continue
            if study["measure"] in TRACES:
                traces |= _traces(study["cells"])
            else:
                figures |= {(study["measure"], key): value for key, value in _figures(study["cells"])}
                metrics |= {(study["measure"], key): metric for key, metric in _metrics(study["cells"])}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}: {error!r}, allowed is a study as `ugts reproduce` writes it") from None
    if not figures and not traces:
        raise InputError(f"--known {folder} holds no figures, allowed is a folder that `ugts reproduce` has written")
    return Known(figures, traces, metrics)


def _figures(cells: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for cell in cells:
        for key, value in zip(cell["runs"], cell["values"], strict=True):
            if value is not None:
                yield key, float(value)


def _metrics(cells: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for cell in cells:
        if cell.get("metric"):
            yield from ((key, str(cell["metric"])) for key in cell["runs"])


def _traces(cells: list[dict[str, Any]]) -> dict[str, Trace]:
    return {
        cell["run"]: Trace(**{name: value for name, value in cell.items() if name not in ("cell", "run")})
        for cell in cells
    }
