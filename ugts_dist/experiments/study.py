"""A table or figure of the paper as data: panels of rows and columns; each cell has a configuration per seed.

A study is a TOML file, in `studies/` or of one's own (`study_file.py`):

    title, text      a description
    measure          test or valid (the metric of the task) or ood (ROC-AUC of unknown classes), in percent, RMSE and
                     MAE in the units of the targets; or a trace over the training of each row's first seed: mad or
                     gradients
    heading          what the columns are
    seeds            number of seeds of each cell (0, 1, 2, ...), or the number for each column. Panels and rows may
                     have their own numbers, for all columns or for some; a row's has priority over a panel's
    redrawn          whether seed s trains on redrawn split s + 1 of the graph (`data.split`) and not on the public one
    plot             whether the columns are numbers along which curves are drawn
    [fields]         of the configuration, for every cell
    [columns]        labels, and for each a table of fields; or a field and its values
    [[panels]]       title, presets by name (or files of a configuration beside the study), fields, published (a table
                     of published.toml), columns (labels, if not all), seeds, optional (left out if its data are
                     missing), rows (by label, the fields of this panel only; a field may have a value for each column)
    [[rows]]         label, preset (one of the panel's), fields, published (a row of that table), flat (the same for
                     all columns), panels (titles, if not all)
    [published]      in a file of one's own: tables by name, with a figure or one for each column, by row
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ugts_dist.config import Config, load_preset, load_toml
from ugts_dist.config_features import FEATURES
from ugts_dist.config_names import current_fields
from ugts_dist.errors import InputError, refuse_unknown

TRACES = ("mad", "gradients")
MEASURES = ("test", "valid", "ood", *TRACES)

_QUIET = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}


@dataclass(frozen=True)
class Cell:
    """One figure: the mean over runs that differ only by their seed, or by seed and split.

    Attributes:
        panel, row, column: its position; `column` is empty if the row is the same for all of them.
        configs: of the runs.
        published: the paper's figure, in percent or the units of the metric, or None.
    """

    panel: str
    row: str
    column: str
    configs: tuple[Config, ...]
    published: float | None = None

    @property
    def label(self) -> str:
        return " / ".join(part for part in (self.panel, self.row, self.column) if part)


@dataclass(frozen=True)
class Row:
    """Cells side by side, one per column, or a single one for all."""

    label: str
    cells: tuple[Cell, ...]
    published: str = ""

    @property
    def is_flat(self) -> bool:
        return len(self.cells) == 1 and not self.cells[0].column


@dataclass(frozen=True)
class Panel:
    """Rows over the same columns: one of a study's tables, or a diagram of a figure."""

    title: str
    rows: tuple[Row, ...]
    optional: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for row in self.rows for cell in row.cells)


@dataclass(frozen=True)
class Study:
    """A table or figure of the paper, or a study of one's own."""

    name: str
    title: str
    text: str
    measure: str
    heading: str
    columns: tuple[str, ...]
    panels: tuple[Panel, ...]
    plot: bool = False
    own: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for panel in self.panels for cell in panel.cells)

    def only(self, *texts: str) -> Study:
        """The cells whose label contains one of the texts; upper and lower case are the same."""
        folded = [text.casefold() for text in texts]
        panels = (_only(panel, folded) for panel in self.panels)
        return dataclasses.replace(self, panels=tuple(panel for panel in panels if panel.rows))


def study_names() -> list[str]:
    """The names of the built-in studies."""
    entries = (resources.files("ugts_dist.experiments") / "studies").iterdir()
    return sorted((entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml")), key=_order)


def load_study(name: str, seeds: int = 0) -> Study:
    """A study by name; `seeds` bounds the number of runs of a cell. Raises InputError for an unknown one."""
    refuse_unknown([name], study_names(), "unknown table or figure", others="all")
    folder = resources.files("ugts_dist.experiments")
    values = tomllib.loads((folder / "studies" / f"{name}.toml").read_text(encoding="utf-8"))
    published = tomllib.loads((folder / "published.toml").read_text(encoding="utf-8"))
    return study_of(name, values, published.get(name, {}), seeds)


def study_of(
    name: str,
    values: Mapping[str, Any],
    published: Mapping[str, Any],
    seeds: int = 0,
    source: str = "",
    folder: Path | None = None,
) -> Study:
    """A study from its file's values, which `study_file.check_study` has checked.

    Raises InputError, which names `source`, if they do not make valid configurations.

    Args:
        folder: of a file of one's own, in which are the files that panels name as presets.
    """
    source = source or f"study {name}"
    try:
        draft = _Draft(values, published, seeds, folder)
        panels = tuple(draft.panel(panel) for panel in values["panels"])
        return Study(
            name,
            values["title"],
            values.get("text", "").strip(),
            values["measure"],
            values["heading"],
            tuple(draft.columns),
            panels,
            values.get("plot", False),
            folder is not None,
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def column_labels(values: Sequence[float | str]) -> list[str]:
    """The labels of columns that are values of one field."""
    return [value if isinstance(value, str) else f"{value:g}" for value in values]


@dataclass
class _Draft:
    """The tables of a study's file, from which panels are made."""

    values: Mapping[str, Any]
    published: Mapping[str, Any]
    most: int
    folder: Path | None
    columns: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        columns = self.values["columns"]
        if "field" in columns:
            labels = column_labels(columns["values"])
            self.columns = {
                label: {columns["field"]: value} for label, value in zip(labels, columns["values"], strict=True)
            }
        else:
            self.columns = dict(columns)

    def panel(self, panel: Mapping[str, Any]) -> Panel:
        rows = [row for row in self.values["rows"] if panel["title"] in row.get("panels", [panel["title"]])]
        made = tuple(self._row(panel, row) for row in rows)
        return Panel(panel["title"], made, panel.get("optional", False))

    def _row(self, panel: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
        columns = {"": {}} if row.get("flat", False) else self.columns
        figures = self.published.get(panel.get("published", ""), {}).get(row.get("published", ""))
        cells = tuple(
            Cell(
                panel["title"],
                row["label"],
                column,
                self._configs(panel, row, column, fields),
                figures[place] if isinstance(figures, list) else figures,
            )
            for place, (column, fields) in enumerate(columns.items())
            if not column or column in panel.get("columns", self.columns)
        )
        return Row(row["label"], cells, row.get("published", ""))

    def _configs(
        self, panel: Mapping[str, Any], row: Mapping[str, Any], column: str, fields: Mapping[str, Any]
    ) -> tuple[Config, ...]:
        base = self._preset(panel["presets"][row["preset"]])
        own = panel.get("rows", {}).get(row["label"], {})
        parts = (self.values.get("fields", {}), panel.get("fields", {}), fields, row.get("fields", {}), own, _QUIET)
        changes: dict[str, Any] = {}
        for part in parts:
            given = {name: _of_column(name, value, column) for name, value in part.items()}
            # A part may have the old name of a field that another part has by its current one.
            changes |= current_fields(given, str(changes.get(FEATURES, base.data.features)))
        config = base.replace(changes)
        seeds = self._seeds(panel, row, column)
        wanted = min(seeds, self.most) if self.most else seeds
        splits = range(1, wanted + 1) if self.values.get("redrawn", False) else [config.data.split] * wanted
        return tuple(config.replace({"run.seed": seed, "data.split": split}) for seed, split in enumerate(splits))

    def _preset(self, name: str) -> Config:
        return load_preset(name) if self.folder is None or not name.endswith(".toml") else load_toml(self.folder / name)

    def _seeds(self, panel: Mapping[str, Any], row: Mapping[str, Any], column: str) -> int:
        """Number of seeds of a cell: the row's, otherwise the panel's, otherwise the study's."""
        for part in (row, panel, self.values):
            seeds = part.get("seeds", {})
            if not isinstance(seeds, Mapping):
                return int(seeds)
            if unknown := seeds.keys() - self.columns.keys():
                raise InputError(f"seeds of a column {min(unknown)!r}, allowed are {', '.join(self.columns)}")
            if column in seeds:
                return int(seeds[column])
        raise InputError(f"row {row['label']!r} has no number of seeds for column {column!r}")


def _of_column(name: str, value: Any, column: str) -> Any:
    """The column's value of a field that has one per column; otherwise the value itself."""
    if not isinstance(value, Mapping):
        return value
    if column not in value:
        raise InputError(f"{name} has no value for column {column!r}, only for {', '.join(value)}")
    return value[column]


def _only(panel: Panel, texts: Sequence[str]) -> Panel:
    rows = (
        dataclasses.replace(
            row, cells=tuple(cell for cell in row.cells if any(text in cell.label.casefold() for text in texts))
        )
        for row in panel.rows
    )
    return dataclasses.replace(panel, rows=tuple(row for row in rows if row.cells))


def _order(name: str) -> tuple[int, int, str]:
    """Sort key: tables, then figures, each by its number, then others."""
    kind = next((k for k, prefix in enumerate(("table", "fig")) if name.startswith(prefix)), 2)
    return kind, int("".join(filter(str.isdigit, name)) or 0), name


def all_configs(study: Study) -> Iterator[Config]:
    """Every run of a study."""
    for cell in study.cells:
        yield from cell.configs
