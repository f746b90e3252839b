"""A space: a configuration, the fields that a search varies, and how it searches. A file (TOML) or a preset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import tomli_w

from tuning.domains import Domain, Interval, Values, parse_domain
from tuning.search_options import SearchOptions, parse_search
from ugts_dist.checkpointing.identity import absolute_value, with_absolute_paths
from ugts_dist.config import Config, load_preset, load_toml
from ugts_dist.config_factory import ARGS
from ugts_dist.config_features import SWITCHES
from ugts_dist.config_names import (
    RENAMED,
    current_value,
    field_names,
    note_old_names,
    refuse_both_names,
    stored_name,
    stored_value,
)
from ugts_dist.errors import InputError, refuse_unknown
from ugts_dist.methods import METHODS
from ugts_dist.text_files import TOML_BYTES, parse_toml, read_text

FORMAT = 1
SPARSITY, DEPTH, FAN_OUT, METHOD = "supermask.sparsity", "model.depth", "batch.fan_out", "supermask.method"

_OURS = {
    "run.folder": "the search names the folders of its runs",
    "run.init_scores": "search.warm_start does that",
    "log.progress": "the search shows its own progress",
}


@dataclass(frozen=True)
class Part:
    """A configuration and the domains of the fields that vary."""

    base: Config
    fields: Mapping[str, Domain]

    def config(self, values: Mapping[str, Any]) -> Config:
        """The configuration with these values of the fields.

        Unless it varies, a fan-out is cut to the depth, or its last number is repeated. Raises InputError for values
        that are not allowed together.
        """
        changes = dict(values)
        fan_out = list(self.base.batch.fan_out)
        if DEPTH in changes and fan_out and FAN_OUT not in changes:
            depth = max(0, int(changes[DEPTH]))
            changes[FAN_OUT] = (fan_out + fan_out[-1:] * depth)[:depth]
        return self.base.replace(changes)

    @property
    def varied(self) -> list[str]:
        """The fields that take more than one value."""
        return [
            name for name, domain in self.fields.items() if not isinstance(domain, Values) or len(domain.values) > 1
        ]

    def to_plain(self) -> dict[str, Any]:
        return {name: domain.to_plain() for name, domain in self.fields.items()}

    def stored(self) -> dict[str, Any]:
        """As `to_plain`, under the names and with the values that hashes use."""
        return {
            stored_name(name): _mapped(domain, partial(stored_value, name)).to_plain()
            for name, domain in self.fields.items()
        }


@dataclass(frozen=True)
class Space:
    """A search space, checked.

    Attributes:
        source: the file, for messages.
        name: of the preset, or of the file without its suffix.
        tickets: configurations with masks.
        dense: configurations of trained dense networks; None without them.
    """

    source: str
    name: str
    tickets: Part
    dense: Part | None
    search: SearchOptions

    def to_toml(self) -> str:
        """The whole space as one file, which `parse_space` reads."""
        plain: dict[str, Any] = {
            "base": self.tickets.base.to_dict(),
            "fields": self.tickets.to_plain(),
            "search": self.search.to_dict(),
        }
        if self.dense is not None:
            plain["dense"] = {"base": self.dense.base.to_dict(), "fields": self.dense.to_plain()}
        return tomli_w.dumps(plain)

    @property
    def hash(self) -> str:
        """Hash of everything that determines the search's answer: no resources, folders or logs."""
        without_effect = ("cpus", "gpus", "failures")
        search = {name: value for name, value in self.search.to_dict().items() if name not in without_effect}
        if self.search.objective == "sparsity":  # older searches have no other objective, and no such key
            del search["objective"]
        parts = [[part.base.determining(), part.stored()] for part in (self.tickets, self.dense) if part is not None]
        return hashlib.sha256(json.dumps([FORMAT, parts, search], sort_keys=True).encode()).hexdigest()[:16]


def load_space(space: str) -> Space:
    """A space by its file or by name. Relative paths in it are made absolute.

    Raises InputError for one that is missing, not TOML, or wrong.
    """
    if space in space_names():
        text = (resources.files("tuning") / "presets" / f"{space}.toml").read_text(encoding="utf-8")
        return parse_space(text, f"space {space}", space)
    path = Path(space)
    if path.suffix != ".toml" and not os.path.exists(path):  # Path.exists raises an error if a name is too long
        refuse_unknown([space], space_names(), "--space: no file and no preset")
    parsed = parse_space(read_text(path, "a space", TOML_BYTES), space, path.stem, path.parent)
    return replace(parsed, tickets=_absolute(parsed.tickets), dense=parsed.dense and _absolute(parsed.dense))


def space_names() -> list[str]:
    """The names of the built-in spaces."""
    folder = resources.files("tuning") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def parse_space(text: str, source: str, name: str, beside: Path = Path()) -> Space:
    """A space from the text of its file. Configuration files that it names are `beside` it. Raises InputError."""
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise InputError(f"{source}: cannot be read as a space ({error})") from None
    refuse_unknown(values, ("base", "fields", "dense", "search"), f"{source}: unknown section")
    search = parse_search(_table(values, "search", source), source)
    base = _base(_table(values, "base", source), source, "base", beside)
    tickets = Part(base, _domains(_table(values, "fields", source), source, "fields"))
    dense = _dense(_table(values, "dense", source), tickets, source, beside) if search.dense else None
    if not search.dense and "dense" in values:
        raise InputError(f"{source}: search.dense is False, but there is a section [dense]")
    _check(tickets, search, source)
    return Space(source, name, tickets, dense, search)


def _absolute(part: Part) -> Part:
    fields = {name: _mapped(domain, partial(absolute_value, name)) for name, domain in part.fields.items()}
    return Part(with_absolute_paths(part.base), fields)


def _mapped(domain: Domain, change: Callable[[Any], Any]) -> Domain:
    """The domain with each of its values changed; an interval stays as it is."""
    return replace(domain, values=tuple(map(change, domain.values))) if isinstance(domain, Values) else domain


def _dense(values: dict[str, Any], tickets: Part, source: str, beside: Path) -> Part:
    """The trained dense networks: as described, by default the tickets' base with all weights trained."""
    refuse_unknown(values, ("preset", "config", "base", "fields"), f"{source}: unknown field in [dense]")
    fields = _table(values, "fields", source)
    start = values.get("base", {name: values[name] for name in ("preset", "config") if name in values})
    base = _base(start, source, "dense", beside) if start else tickets.base
    # Values that are fixed for the tickets, such as the number of epochs, are fixed for the dense networks, too.
    fixed = {name: d.values[0] for name, d in tickets.fields.items() if isinstance(d, Values) and len(d.values) == 1}
    shared = {name: value for name, value in fixed.items() if not start and name not in (SPARSITY, METHOD)}
    try:
        base = base.replace({**shared, METHOD: "dense"})
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    part = Part(base, _domains(fields, source, "dense.fields"))
    for name, domain in part.fields.items():
        if isinstance(domain, Interval):
            raise InputError(f"{source}: dense.fields.{name!r} is an interval, allowed are single values and grid")
    return part


def _base(values: Mapping[str, Any], source: str, where: str, beside: Path) -> Config:
    """A preset, a configuration file, or a whole configuration."""
    if "preset" in values or "config" in values:
        refuse_unknown(values, ("preset", "config"), f"{source}: unknown field in [{where}]")
        if len(values) != 1 or not isinstance(next(iter(values.values())), str):
            raise InputError(f"{source}: [{where}] has {dict(values)!r}, allowed is a preset or a config, by name")
        try:
            return load_preset(values["preset"]) if "preset" in values else load_toml(beside / values["config"])
        except InputError as error:
            raise InputError(f"{source}: [{where}] {error}") from None
    note_old_names(field_names(values))
    return Config.from_dict(values, f"{source}: [{where}]")


def _domains(values: dict[str, Any], source: str, where: str) -> dict[str, Domain]:
    hints, with_effect = _hints() | dict.fromkeys(SWITCHES, bool), (*Config().with_effect(), *SWITCHES)
    domains: dict[str, Domain] = {}
    note_old_names(values)
    try:
        refuse_both_names(values)
    except InputError as error:
        raise InputError(f"{source}: [{where}]: {error}") from None
    for given, value in values.items():
        name = RENAMED.get(given, given)
        is_argument = name.startswith(f"{ARGS}.")
        if not is_argument:
            refuse_unknown([name], hints, f"{source}: unknown field in [{where}]")
        if name in _OURS:
            raise InputError(f"{source}: {where}.{name!r} can't be searched, as {_OURS[name]}")
        known = _kind_of(value) if is_argument else hints[name]
        hint = known if get_origin(known) is None else None
        domain = parse_domain(value, hint, f"{source}: {where}.{name!r}")
        if name not in with_effect and not is_argument and not (isinstance(domain, Values) and len(domain.values) == 1):
            raise InputError(f"{source}: {where}.{name!r} does not change a result; allowed is a single value")
        domains[name] = _with_current_values(given, domain, source)
    return domains


def _with_current_values(given: str, domain: Domain, source: str) -> Domain:
    """The domain of a field that the space gave under this name, perhaps an old one with values of its own."""
    try:
        return _mapped(domain, partial(current_value, given))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _check(part: Part, search: SearchOptions, source: str) -> None:
    """Check each value of a field by itself; combinations are checked when they are listed."""
    for name, domain in part.fields.items():
        if isinstance(domain, Interval) and search.kind == "grid":
            allowed = "a list for kind grid; kinds random and optuna take intervals"
            raise InputError(f"{source}: fields.{name!r} is an interval, allowed is {allowed}")
    possible = _possible(part, METHOD)  # not checked yet: any value
    trained = [name for name, method in METHODS.items() if not method.masks and name in possible]
    if trained:
        raise InputError(
            f"{source}: {METHOD} is {trained[0]!r}; allowed are tickets, [dense] describes the dense networks"
        )
    if search.warm_start:
        if isinstance(part.fields.get(SPARSITY), Interval):
            raise InputError(f"{source}: fields.{SPARSITY!r} is an interval, allowed is a list, as warm_start is true")
        if 0 in _possible(part, "checkpoint.keep_last"):
            raise InputError(f"{source}: checkpoint.keep_last is 0, allowed is 1 or more, as warm_start is true")


def _possible(part: Part, name: str) -> tuple[Any, ...]:
    """The values that a field can have; empty for an interval."""
    domain = part.fields.get(name)
    if domain is None:
        section, _, field = name.partition(".")
        return (getattr(getattr(part.base, section), field),)
    return domain.values if isinstance(domain, Values) else ()


def _hints() -> dict[str, Any]:
    """Every field of the configuration and its type."""
    sections = get_type_hints(Config)
    return {f"{name}.{field}": hint for name, kind in sections.items() for field, hint in get_type_hints(kind).items()}


def _kind_of(value: Any) -> type | None:
    """The type of the numbers in an interval; None for other domains."""
    ends = next(iter(value.values())) if isinstance(value, Mapping) and value else None
    if not isinstance(ends, list) or not all(type(end) in (int, float) for end in ends):
        return None
    return int if all(type(end) is int for end in ends) else float


def _table(values: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"{source}: {name} is {table!r}, allowed is a section [{name}]")
    return table
