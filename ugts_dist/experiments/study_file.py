"""A study in a file of one's own: read and checked before any run. `study.py` says what such a file has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ugts_dist.config import Config, flat, preset_names
from ugts_dist.config_factory import ARGS
from ugts_dist.config_features import SWITCHES
from ugts_dist.config_names import RENAMED, note_old_names
from ugts_dist.errors import InputError, refuse_unknown
from ugts_dist.experiments.study import MEASURES, Study, column_labels, study_of
from ugts_dist.text_files import read_toml

SUFFIX = ".toml"
_OF_SEEDS = ("run.seed", "run.folder")  # each run has its own


@dataclass(frozen=True)
class Entry:
    """What is allowed for one name of a table."""

    allowed: str
    fits: Callable[[Any], bool]
    needed: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_seeds(value: Any) -> bool:
    numbers = list(value.values()) if isinstance(value, Mapping) else [value]
    return bool(numbers) and all(type(number) is int and number >= 1 for number in numbers)


def _is_values(value: Any) -> bool:
    return _is_list(object)(value) and all(isinstance(item, int | float | str) for item in value)


def _is_list(of: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(isinstance(item, of) for item in value)


def _is_table(of: type | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and (of is None or all(isinstance(item, of) for item in value.values()))
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_SEEDS = Entry("a whole number of 1 or more, or a table of them by column", _is_seeds)
_FIELDS = Entry("a table of fields", _is_table())
_BOOL = Entry("true or false", _is_bool)
_TEXT = Entry("a text", lambda value: isinstance(value, str))
_TITLE = Entry("a text that is not empty", _is_text, needed=True)
_TEXTS = Entry("a list of texts", _is_list(str))
_STUDY = {
    "title": _TITLE,
    "text": _TEXT,
    "measure": Entry(f"one of {', '.join(MEASURES)}", MEASURES.__contains__, needed=True),
    "heading": replace(_TEXT, needed=True),
    "seeds": _SEEDS,
    "redrawn": _BOOL,
    "plot": _BOOL,
    "fields": _FIELDS,
    "columns": Entry("a table", _is_table(), needed=True),
    "panels": Entry("tables [[panels]]", _is_list(dict), needed=True),
    "rows": Entry("tables [[rows]]", _is_list(dict), needed=True),
    "published": Entry("tables of figures by row", _is_table(dict)),
}
_PANEL = {
    "title": _TITLE,
    "presets": Entry("a table of presets or files by a name of yours", _is_table(str), needed=True),
    "fields": _FIELDS,
    "published": _TEXT,
    "columns": _TEXTS,
    "seeds": _SEEDS,
    "optional": _BOOL,
    "rows": Entry("a table of tables of fields, by row", _is_table(dict)),
}
_ROW = {
    "label": _TITLE,
    "preset": _TITLE,
    "fields": _FIELDS,
    "published": _TEXT,
    "flat": _BOOL,
    "panels": _TEXTS,
    "seeds": _SEEDS,
}


def read_study(path: str, seeds: int = 0) -> Study:
    """The study in a file; `seeds` bounds the number of runs of a cell.

    Raises InputError, which names the file and the field.
    """
    values = read_toml(path, "a study")
    file = Path(path)
    try:
        check_study(values, values.get("published", {}), file.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return study_of(file.name.removesuffix(SUFFIX), values, values.get("published", {}), seeds, path, file.parent)


def check_study(values: Mapping[str, Any], published: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError for values of which no study can be made; files of presets are in `folder`."""
    _check("", values, _STUDY)
    columns = _columns(values["columns"])
    titles = _names("panel", "title", values["panels"], _PANEL)
    _names("row", "label", values["rows"], _ROW)
    _check_fields("[fields]", values.get("fields", {}))
    for row in values["rows"]:
        where = f"row {row['label']!r}"
        _check_fields(f"fields of {where}", row.get("fields", {}))
        refuse_unknown(row.get("panels", ()), titles, f"panels of {where}: unknown panel")
    for panel in values["panels"]:
        _check_panel(panel, values["rows"], columns, folder)
    _check_published(published, columns)


def _check_panel(
    panel: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    folder: Path,
) -> None:
    where = f"panel {panel['title']!r}"
    _check_fields(f"fields of {where}", panel.get("fields", {}))
    refuse_unknown(panel.get("columns", ()), columns, f"columns of {where}: unknown column")
    own = [row for row in rows if panel["title"] in row.get("panels", [panel["title"]])]
    if not own:
        raise InputError(f"{where} has no row")
    refuse_unknown(panel.get("rows", ()), [row["label"] for row in own], f"rows of {where}: unknown row")
    for label, fields in panel.get("rows", {}).items():
        _check_fields(f"row {label!r} of {where}", fields)
    for name, preset in panel["presets"].items():
        if not preset.endswith(SUFFIX):
            refuse_unknown([preset], preset_names(), f"presets of {where}: {name} is an unknown preset")
        elif not (folder / preset).is_file():
            raise InputError(f"presets of {where}: {name} is {preset!r}, and there is no such file in {folder}")
    for row in own:
        what = f"preset of row {row['label']!r}: {where} has none of this name,"
        refuse_unknown([row["preset"]], panel["presets"], what)


def _columns(columns: Mapping[str, Any]) -> list[str]:
    """The labels of the columns."""
    if "field" not in columns:
        for label, fields in columns.items():
            if not isinstance(fields, dict):
                raise InputError(f"column {label!r} is {_short(fields)}, allowed is a table of fields")
            _check_fields(f"column {label!r}", fields)
        return list(columns)
    kinds = {"field": _TITLE, "values": Entry("a list of numbers or texts", _is_values, needed=True)}
    _check("[columns]", columns, kinds)
    _check_fields("[columns]", {columns["field"]: None})
    labels = column_labels(columns["values"])
    _refuse_twice("columns", labels)
    return labels


def _names(kind: str, key: str, tables: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry]) -> list[str]:
    """The titles or labels of panels or rows, which are checked."""
    for number, table in enumerate(tables, 1):
        name = repr(table[key]) if _is_text(table.get(key)) else f"number {number}"
        _check(f"{kind} {name}", table, entries)
    names = [str(table[key]) for table in tables]
    _refuse_twice(f"{kind}s", names)
    return names


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{what}: {name!r} is there {names.count(name)} times, allowed is once")


def _check(where: str, values: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
    before = f"{where}: " if where else ""
    refuse_unknown(values, entries, f"{before}unknown field")
    for name, entry in entries.items():
        if name not in values:
            if entry.needed:
                raise InputError(f"{before}{name} is missing, allowed is {entry.allowed}")
        elif not entry.fits(values[name]):
            raise InputError(f"{before}{name} is {_short(values[name])}, allowed is {entry.allowed}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_fields(where: str, names: Collection[str]) -> None:
    """Raise InputError for names that are no fields of a configuration. Their values are checked with each run's."""
    known = {*flat(Config().to_dict()), *RENAMED, *SWITCHES}
    for name in names:
        if name in _OF_SEEDS:
            raise InputError(f"{where}: {name} is not allowed, each run has its own; the study has `seeds`")
        if "." not in name:
            raise InputError(f'{where}: unknown field {name!r}, allowed are quoted names such as "model.width"')
    refuse_unknown([name for name in names if not _is_argument(name)], known, f"{where}: unknown field")
    note_old_names(names)


def _is_argument(name: str) -> bool:
    """Whether a field is an argument of an own network; which ones there are is not known here."""
    return name.startswith(f"{ARGS}.") and name.removeprefix(f"{ARGS}.").isidentifier()


def _check_published(published: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> None:
    for table, rows in published.items():
        for row, figures in rows.items():
            many = isinstance(figures, list)
            numbers = all(type(figure) in (int, float) for figure in (figures if many else [figures]))
            if not numbers or (many and len(figures) != len(columns)):
                allowed = f"a number, or one for each of the {len(columns)} columns"
                raise InputError(f"published.{table}: {row} is {_short(figures)}, allowed is {allowed}")
