"""The page that compares several runs: their results, the settings that differ, validation over epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.checkpointing.provenance import data_of
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.metrics import by_title
from ugts_dist.report import figures
from ugts_dist.report.files import number
from ugts_dist.report.page import Block, Cell, Details, Figure, Page, Paragraph, Problem, Section, Table
from ugts_dist.report.run_files import RunFiles, read_run
from ugts_dist.report.text import shown

_DATA = ("data.split", "data.feature_noise", "data.edge_noise", "data.left_out")
_PARTS = ("labels", "edges", "split")  # features may be scaled
_MOST_CURVES = 20
_LONGEST = 60  # of a setting


@dataclass(frozen=True)
class Compared:
    """A run with its short name."""

    name: str
    run: RunFiles
    config: Config

    @property
    def metric(self) -> str:
        """The name of the metric; empty if it is not known before the run's end."""
        return self.run.metric

    @property
    def data(self) -> tuple[Any, ...]:
        """What the configuration says of the data."""
        fields = self.config.with_effect()
        return self.config.data_name, *(fields[name] for name in _DATA)

    @property
    def data_title(self) -> str:
        usual, (name, *values) = Config().with_effect(), self.data
        others = zip(_DATA, values, strict=True)
        return ", ".join([name, *(f"{field} {value:g}" for field, value in others if value != usual[field])])

    def fits(self, other: Compared) -> bool:
        """Whether the metrics of both can be compared: the same one, on the same data. What is unknown fits."""
        known = zip(self._known(), other._known(), strict=True)
        return self.data == other.data and all(mine == theirs or not (mine and theirs) for mine, theirs in known)

    def _known(self) -> tuple[str, ...]:
        data = None if self.run.network is None else data_of(self.run.network.provenance)
        parts = {} if data is None else data.parts
        return self.metric, *(parts.get(part, "") for part in _PARTS)


def comparison_page(folders: Sequence[Path]) -> Page:
    """The page of several runs, some of which may be running. Raises InputError for a run that can't be read."""
    runs = [_read(name, folder) for name, folder in zip(_names(folders), folders, strict=True)]
    groups = _groups(runs)
    titles = [_title(group) for group in groups]
    sections = [
        Section(title if titles.count(title) == 1 else f"{title} ({place})", blocks=list(_results(group)))
        for place, (title, group) in enumerate(zip(titles, groups, strict=True), 1)
    ]
    places = Table((), [(run.name, str(run.run.folder.path)) for run in runs])
    sections += [_settings(runs), Section("Folders", blocks=[Details("The folder of each run", places)])]
    return Page(f"{len(runs)} runs compared", _intro(runs, groups), sections)


def _read(name: str, folder: Path) -> Compared:
    run = read_run(folder)
    if run.config is None:
        raise InputError("; ".join(run.folder.problems))
    return Compared(name, run, run.config)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    names = ["/".join(path[-1:]) for path in parts]
    for count in range(2, max(map(len, parts)) + 1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(path[-count:]) for path in parts]
    return names


def _groups(runs: Sequence[Compared]) -> list[list[Compared]]:
    """Runs whose metrics can be compared, in the given order. Those of which most is known are the first of a group."""
    groups: list[list[Compared]] = []
    for run in sorted(runs, key=lambda run: run.run.result is None):
        group = next((group for group in groups if all(run.fits(other) for other in group)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return [sorted(group, key=runs.index) for group in groups]


def _metric(group: Sequence[Compared]) -> str:
    return next((run.metric for run in group if run.metric), "metric")


def _title(group: Sequence[Compared]) -> str:
    return f"{group[0].data_title}: {_metric(group)}"


def _intro(runs: Sequence[Compared], groups: Sequence[Sequence[Compared]]) -> str:
    texts = ["Test figures are those of the best validation epoch. ★ marks the best validation figure."]
    unfinished = [run.name for run in runs if run.run.result is None]
    if unfinished:
        texts.append(f"Not finished, with the figures so far: {', '.join(unfinished)}.")
    if len(groups) > 1:
        texts.append(f"The runs are in {len(groups)} groups, as figures of other data or metrics can't be compared.")
    return " ".join(texts)


def _results(group: Sequence[Compared]) -> Iterator[Block]:
    for run in group:
        for problem in run.run.folder.problems:
            yield Problem(problem)
    best = _best(group)
    headings = ("run", "graph", "arch", "method", "sparsity", "valid", "test", "bytes", "seconds", "epochs")
    yield Table(headings, [_row(run, best) for run in group])
    yield from _curves(group)


def _best(group: Sequence[Compared]) -> float | None:
    """The best validation figure of a group; None if there is none yet."""
    values = [value for run in group if (value := number(run.run.best, "valid")) is not None]
    better = max if by_title(_metric(group)).higher_is_better else min
    return better(values, default=None)


def _row(compared: Compared, best: float | None) -> list[str | Cell]:
    run, config = compared.run, compared.config
    valid = number(run.best, "valid")
    size = run.network.sizes.file if run.network is not None else number(run.best, "bytes")
    return [
        compared.name,
        config.data_name,
        config.model.title,
        config.supermask.method,
        shown(number(run.best, "sparsity")),
        Cell(shown(valid), "best" if valid is not None and valid == best else "plain"),
        shown(number(run.best, "test")),
        shown(size),
        _seconds(run.result),
        _epochs(run, config),
    ]


def _seconds(result: Mapping[str, Any] | None) -> str:
    seconds = number(result or {}, "seconds")
    return "-" if seconds is None else f"{seconds:,.1f}"


def _epochs(run: RunFiles, config: Config) -> str:
    """The number of epochs; 12/400 if the run is not finished."""
    done = int(run.epochs[-1]["epoch"]) + 1 if run.epochs else 0
    return f"{done}/{config.run.epochs}" if run.result is None else f"{done or config.run.epochs}"


def _curves(group: Sequence[Compared]) -> Iterator[Block]:
    """Validation over epochs; of very many runs, those with the best figures."""
    best = _ranked(group)[:_MOST_CURVES]
    drawn = [run for run in group if run in best]
    lines = {}
    for run in drawn:
        epochs = [epoch for epoch in run.run.epochs if "valid" in epoch]
        x, y = figures.finite([epoch["epoch"] for epoch in epochs], [epoch["valid"] for epoch in epochs])
        if x:
            lines[f"{run.name}, unfinished" if run.run.result is None else run.name] = (x, y)
    if not lines:
        yield Paragraph("No epoch has been measured yet.")
        return
    caption = f"Validation {_metric(group)} over epochs"
    left_out = f", of the best {_MOST_CURVES} of {len(group)} runs" if len(group) > _MOST_CURVES else ""
    yield Figure(figures.compared(lines, f"validation {_metric(group)}"), f"{caption}{left_out}")


def _ranked(group: Sequence[Compared]) -> list[Compared]:
    """The best validation figure first, runs without one last."""
    sign = -1 if by_title(_metric(group)).higher_is_better else 1

    def place(run: Compared) -> tuple[bool, float]:
        valid = number(run.run.best, "valid")
        return valid is None, sign * (valid or 0.0)

    return sorted(group, key=place)


def _settings(runs: Sequence[Compared]) -> Section:
    """The fields that determine a result and differ. The longer side of the table goes down the page."""
    settings = [run.config.with_effect() for run in runs]
    # Runs need not have the same fields: own networks have arguments.
    names = dict.fromkeys(name for values in settings for name in values)
    fields = [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]
    if not fields:
        return Section("Settings that differ", "None: the runs have the same settings.")
    rows = [
        [run.name, *(_setting(values.get(name)) for name in fields)] for run, values in zip(runs, settings, strict=True)
    ]
    headings = ["run", *fields]
    if len(fields) > len(runs):
        headings, *rows = [list(column) for column in zip(headings, *rows, strict=True)]
        headings[0] = "field"
    return Section("Settings that differ", blocks=[Table(headings, rows)])


def _setting(value: object) -> str:
    """As it stands in a configuration file, without rounding; a long text is cut at its beginning, none is a dash."""
    text = "-" if value in ("", None) else str(value)
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"
