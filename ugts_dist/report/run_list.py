"""`ugts runs`: the runs and searches in folders, one line each.

This module imports nothing heavy: the list appears at once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.metrics import by_title, title_of
from ugts_dist.report.files import Folder, number
from ugts_dist.report.options import Column, RunsOptions
from ugts_dist.report.search_files import SPACE
from ugts_dist.report.search_list import SearchRow, State, aligned, search_lines, search_row
from ugts_dist.terminal import escaped
from ugts_dist.text_files import parse_json, read_toml

_log = logging.getLogger(__name__)

COLUMNS: tuple[str, ...] = get_args(Column)
_TEXTS = ("folder", "data", "arch", "method")
_BY_METRIC = ("valid", "test")
_HIGHEST_FIRST = ("sparsity", *_BY_METRIC)
_USUAL = ("runs", "searches")

Row = TypeVar("Row", "RunRow", SearchRow)


@dataclass(frozen=True)
class RunRow:
    """A run: its result, or its last measured epoch. None for what is not known.

    Attributes:
        epochs: number of epochs that are done, up to the last measured one.
        epochs_configured: number of epochs of the whole run.
    """

    folder: str
    state: State
    data: str
    arch: str
    method: str
    metric: str | None
    sparsity: float | None
    valid: float | None
    test: float | None
    bytes: float | None
    epochs: float
    epochs_configured: int
    seconds: float | None
    kind: Literal["run"] = "run"


def run_list(options: RunsOptions) -> str:
    """The table or the JSON. A line is logged for each file that can't be read.

    Raises InputError for a folder that does not exist.
    """
    folders = options.folders or tuple(name for name in _USUAL if Path(name).is_dir())
    searches, paths = _folders(folders)
    by_metric = options.json or options.sort in _BY_METRIC
    runs = _sorted((row for path in paths for row in _row(path, by_metric)), options.sort)
    found = _sorted((search_row(path) for path in searches), options.sort)
    if options.json:
        entries: list[RunRow | SearchRow] = [*runs, *found]
        return json.dumps([dataclasses.asdict(row) for row in entries], indent=1)
    tables = [lines for lines in (_table(runs), search_lines(found)) if lines]
    return "\n\n".join(map("\n".join, tables)) or f"no runs in {', '.join(folders or _USUAL)}"


def _folders(tops: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """The folders of searches and of runs, each once, also if the given folders contain each other."""
    searches: dict[Path, Path] = {}
    runs: dict[Path, Path] = {}
    for top in tops:
        if not Path(top).is_dir():
            raise InputError(f"{top}: not a folder; allowed are folders of runs, or with runs in them")
        for folder, inner, files in os.walk(top):
            path = Path(folder)
            if SPACE in files:
                searches.setdefault(path.resolve(), path)
                inner[:] = inner if path == Path(top) else []
            elif "config.toml" in files:
                runs.setdefault(path.resolve(), path)
                inner.clear()
            # A process may be making a run in a hidden folder.
            inner[:] = [name for name in inner if not name.startswith(".")]
    return list(searches.values()), list(runs.values())


def _row(path: Path, by_metric: bool) -> Iterator[RunRow]:
    """The row of a run; none without a readable configuration. `by_metric`: the name of the metric is needed."""
    folder = Folder(path)
    try:
        config = Config.from_dict(read_toml(path / "config.toml", "a configuration"), str(path / "config.toml"))
    except InputError as error:
        _log.warning(f"{error}; this folder is left out")
        return
    result = folder.result()
    measured = _last_epoch(folder)
    found = measured if result is None else result
    metric = str(found["metric"]) if "metric" in found else _metric_so_far(path, config) if by_metric else ""
    last = number(measured, "epoch")
    missing = 0 if result is None else config.run.epochs
    for problem in folder.problems:
        _log.warning(problem)
    yield RunRow(
        folder=str(path),
        state="damaged" if folder.problems else "unfinished" if result is None else "finished",
        data=config.data_name,
        arch=config.model.title,
        method=config.supermask.method,
        metric=metric or None,
        sparsity=number(found, "sparsity"),
        valid=number(found, "valid"),
        test=number(found, "test"),
        bytes=number(found, "bytes"),
        epochs=missing if last is None else last + 1,
        epochs_configured=config.run.epochs,
        seconds=number(found, "seconds"),
    )


def _metric_so_far(path: Path, config: Config) -> str:
    """The title of the metric of an unfinished run; empty if it is not known yet."""
    if title := title_of(config.task.metric, config.task.kind):
        return title
    from ugts_dist.report.run_files import metric_so_far  # heavy: only the saved network knows what it predicts

    return metric_so_far(path, config)


def _last_epoch(folder: Folder) -> Mapping[str, Any]:
    """The last measured epoch; empty before the first one."""
    # Text after the last end of a line is still being written.
    lines = (folder.text("metrics.jsonl") or "").split("\n")[:-1]
    if not lines:
        return {}
    try:
        return parse_json(lines[-1])
    except ValueError as error:
        folder.problems.append(f"{folder.path / 'metrics.jsonl'}: line {len(lines)} is damaged ({error})")
        return {}


def _sorted(rows: Iterable[Row], column: str) -> list[Row]:
    by_folder = sorted(rows, key=lambda row: row.folder)
    known = [row for row in by_folder if getattr(row, column, None) is not None]
    unknown = [row for row in by_folder if getattr(row, column, None) is None]
    if column in _HIGHEST_FIRST:
        return sorted(known, key=lambda row: _sign(row, column) * float(getattr(row, column))) + unknown
    return sorted(known, key=lambda row: getattr(row, column)) + unknown


def _sign(row: RunRow | SearchRow, column: str) -> int:
    """-1 if the highest value comes first: not for an error such as RMSE."""
    return 1 if column != "sparsity" and row.metric and not by_title(row.metric).higher_is_better else -1


def _table(rows: Sequence[RunRow]) -> list[str]:
    cells = [[_shown(row, column) for column in COLUMNS] for row in rows]
    return aligned(COLUMNS, cells, _TEXTS) if rows else []


def _shown(row: RunRow, column: str) -> str:
    value = getattr(row, column)
    if value is None:
        return "-"
    if column == "epochs":
        return f"{value:g}" if row.state == "finished" else f"{value:g}/{row.epochs_configured}"
    if column in _TEXTS:
        return escaped(value)
    return format(value, {"bytes": ",", "seconds": ".1f"}.get(column, ".4f"))
