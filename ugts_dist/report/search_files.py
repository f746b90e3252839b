"""The files of a search's folder, as far as they can be read. The search may be running."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ugts_dist.errors import InputError
from ugts_dist.metrics import by_title
from ugts_dist.report.files import Folder, number
from ugts_dist.spread import Spread
from ugts_dist.text_files import JSON_BYTES, parse_toml, read_bytes

SPACE = "space.toml"  # the file that makes a folder that of a search
_COLUMNS = ("state", "seed", "sparsity", "valid", "test", "epoch", "seconds", "bytes", "winner", "message")

Objective = Literal["sparsity", "bytes"]  # second objective beside accuracy: high sparsity, or few bytes
BEST = {"sparsity": "sparsest", "bytes": "smallest"}  # the best matching ticket by each objective


@dataclass(frozen=True)
class Winner:
    """A ticket of the front, or the best dense network, over its seeds. Older searches have no bytes."""

    key: str
    dense: bool
    fields: dict[str, Any]
    sparsity: float
    bytes: Spread | None
    valid: Spread
    test: Spread
    matches: bool


@dataclass(frozen=True)
class Answer:
    """The answer of a search.

    Attributes:
        objective: the second objective beside accuracy.
        dense: the best trained dense network, if there is one.
        winners: the front, sparsest or smallest first.
        best: the index of the sparsest or smallest matching ticket among the winners.
        tolerance: how much worse than the dense network's its validation metric may be.
        metric: the name of the metric.
    """

    objective: Objective
    dense: Winner | None
    winners: Sequence[Winner]
    best: int | None
    tolerance: float
    metric: str

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher metric is better: not for an error such as RMSE."""
        return by_title(self.metric).higher_is_better

    def limit(self, dense: Winner) -> str:
        """The validation metric up to which a ticket matches the dense network, as a sum."""
        return f"{dense.valid.mean:.4f} {'-' if self.higher_is_better else '+'} {self.tolerance:.4f}"


@dataclass(frozen=True)
class Trial:
    """A run of the search.

    Attributes:
        values: its row of `results.parquet`, by column; empty before its end.
        fields: the values of the fields that vary.
    """

    key: str
    label: str
    dense: bool
    values: dict[str, Any]
    fields: dict[str, Any]

    @property
    def state(self) -> str:
        return str(self.values.get("state", "waiting"))


@dataclass(frozen=True)
class Manifest:
    """The manifest of a search.

    Attributes:
        metric: its title; empty before the first report of a trial.
        entries: of the trials, by the keys of their runs.
    """

    metric: str
    entries: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SearchFiles:
    """All that is known of a search.

    Attributes:
        answer: None if the search is not finished.
        metric: its title; empty before the first report of a trial.
        space: its text, as TOML.
        fields: of the space, with their domains.
        search: its section [search].
        best: the configuration of its answer, as TOML.
    """

    folder: Folder
    answer: Answer | None
    trials: list[Trial]
    metric: str
    space: str
    fields: dict[str, Any]
    search: dict[str, Any]
    best: str


def read_search(path: Path) -> SearchFiles:
    """Read a search's files. Raises InputError if none can be read."""
    folder = Folder(path)
    space = folder.text(SPACE) or ""
    parsed = _parsed(folder, space)
    answer = _answer(folder)
    manifest = read_manifest(folder)
    trials = _trials(folder, manifest)
    metric = manifest.metric if answer is None else answer.metric
    if folder.problems and answer is None and not trials:
        raise InputError("; ".join(folder.problems))
    return SearchFiles(
        folder, answer, trials, metric, space, parsed["fields"], parsed["search"], folder.text("best.toml") or ""
    )


def _parsed(folder: Folder, space: str) -> dict[str, dict[str, Any]]:
    """Two sections of the space; empty if it is damaged."""
    try:
        values = parse_toml(space)
        return {name: dict(values.get(name, {})) for name in ("fields", "search")}
    except (TypeError, ValueError) as error:
        folder.problems.append(f"{folder.path / SPACE}: damaged ({error})")
        return {"fields": {}, "search": {}}


def _answer(folder: Folder) -> Answer | None:
    values = folder.json("answer.json")
    if values is None:
        return None
    try:
        winners = [_winner(entry) for entry in values["winners"]]
        objective = values.get("objective", "sparsity")
        if objective not in BEST:
            raise ValueError(f"objective is {objective!r:.80}, allowed are {' and '.join(BEST)}")
        best = values["sparsest"] if "sparsest" in values else values["best"]  # the name before there was an objective
        if best is not None and (type(best) is not int or not 0 <= best < len(winners)):
            raise ValueError(f"best is {best!r}, and it has {len(winners)} winners")
        dense = None if values["dense"] is None else _winner(values["dense"])
        return Answer(objective, dense, winners, best, _number(values, "tolerance"), str(values["metric"]))
    except (KeyError, TypeError, ValueError) as error:
        folder.problems.append(f"{folder.path / 'answer.json'}: damaged ({type(error).__name__}: {error})")
        return None


def _winner(values: Mapping[str, Any]) -> Winner:
    return Winner(
        str(values["key"]),
        bool(values["dense"]),
        dict(values["fields"]),
        _number(values, "sparsity"),
        _spread(values["bytes"]) if "bytes" in values else None,
        _spread(values["valid"]),
        _spread(values["test"]),
        bool(values["matches"]),
    )


def _spread(values: Mapping[str, Any]) -> Spread:
    return Spread(_number(values, "mean"), _number(values, "deviation"), int(_number(values, "count")))


def _number(values: Mapping[str, Any], name: str) -> float:
    value = number(values, name)
    if value is None:
        raise ValueError(f"{name} is {values.get(name)!r:.80}, allowed is a finite number")
    return value


def _trials(folder: Folder, manifest: Manifest) -> list[Trial]:
    """The trials, from the table of results; before it exists, from the manifest and the runs' own results."""
    rows = [_of_row(row, manifest.entries.get(str(row.get("key")), {})) for row in _rows(folder)]
    return rows or trials_of_manifest(folder, manifest)


def trials_of_manifest(folder: Folder, manifest: Manifest) -> list[Trial]:
    """The trials as the manifest has them, with the results of their runs. Nothing heavy is imported."""
    return [_of_run(folder, key, trial) for key, trial in manifest.entries.items() if Path(key).name == key]


def read_manifest(folder: Folder) -> Manifest:
    """The manifest; empty if there is none or if it is damaged."""
    values = folder.json("manifest.json") or {}
    known, metric = values.get("trials"), values.get("metric")
    entries = known.items() if isinstance(known, dict) else ()
    trials = {str(key): trial for key, trial in entries if isinstance(trial, dict)}
    return Manifest(metric if isinstance(metric, str) else "", trials)


def _rows(folder: Folder) -> list[dict[str, Any]]:
    if not folder.has("results.parquet"):
        return []
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(io.BytesIO(read_bytes(folder.path / "results.parquet", JSON_BYTES))).to_pylist())
    except (OSError, pa.ArrowException, ValueError) as error:
        folder.problems.append(f"{folder.path / 'results.parquet'}: damaged ({str(error).splitlines()[0]:.200})")
        return []


def _of_row(row: Mapping[str, Any], known: Mapping[str, Any]) -> Trial:
    values = {name: row.get(name) for name in _COLUMNS}
    fields = {name.removeprefix("field."): value for name, value in row.items() if name.startswith("field.")}
    return Trial(str(row.get("key")), str(known.get("label", "")), row.get("kind") == "dense", values, fields)


def _of_run(folder: Folder, key: str, known: Mapping[str, Any]) -> Trial:
    """The trial of a run. Its test metric is not read, since only winners show it."""
    result = folder.result(f"runs/{key}") or {}
    values = {name: result.get(name) for name in ("sparsity", "valid", "epoch", "seconds", "bytes", "metric")}
    values |= {name: known.get(name) for name in ("state", "seed", "message")}
    label = str(known.get("label", ""))
    return Trial(key, label, label == "dense" or label.startswith("dense,"), values, {})
