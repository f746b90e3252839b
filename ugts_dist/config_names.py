"""Renamed fields of a configuration: files, options and saved networks with an old name are still read.

Two vocabularies meet here. People read and write the current names. Hashes and saved networks keep the old ones: the
key of a run must not change with a name, and the preset dictionary of a ticket's header (`supermask.ticket_dictionary`)
is frozen with the old names, so that writing them costs no bytes. Two switches that became one field are in
`ugts_dist.config_features`.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ugts_dist.config_features import FEATURES, SWITCHES, with_switches, without_switches
from ugts_dist.errors import InputError

_log = logging.getLogger(__name__)

RENAMED = {
    "batch.parts": "batch.micro_batches",
    "supermask.floor": "supermask.min_layer_density",
    "log.tensorboard": "log.to",
}
_OLD = {new: old for old, new in RENAMED.items()}
_CURRENT = RENAMED | dict.fromkeys(SWITCHES, FEATURES)
# Renamed fields that were true or false and are lists.
LISTS: dict[str, dict[bool, list[str]]] = {"log.tensorboard": {True: ["tensorboard"], False: []}}


def current_name(field: str) -> str:
    """The name of a field today: "supermask.floor" is "supermask.min_layer_density"."""
    return _CURRENT.get(field, field)


def current_value(field: str, value: Any) -> Any:
    """The value that a field, perhaps with an old name, has under its current name: true is ["tensorboard"].

    Raises InputError for a switch that is neither true nor false.
    """
    if field not in LISTS:
        return value
    if type(value) is not bool:
        raise InputError(f"{field} is {value!r}, allowed is true or false; its new name is {RENAMED[field]}")
    return list(LISTS[field][value])


def stored_name(field: str) -> str:
    """The name of a field in hashes and saved networks."""
    return _OLD.get(field, field)


def stored_value(field: str, value: Any) -> Any:
    """The value of a field in hashes and saved networks. Of the loggers, they know TensorBoard alone."""
    return isinstance(value, list | tuple) and "tensorboard" in value if field == "log.to" else value


def stored_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat fields {"section.field": value} under the names that hashes and saved networks use."""
    return {stored_name(name): stored_value(name, value) for name, value in with_switches(values).items()}


def refuse_both_names(fields: Collection[str]) -> None:
    """Raise InputError if a field is given under both of its names."""
    for old, new in RENAMED.items():
        if old in fields and new in fields:
            raise InputError(f"{old} and {new} are the same field; remove {old}, its old name")


def current_fields(values: Mapping[str, Any], features: str = "auto") -> dict[str, Any]:
    """Flat fields {"section.field": value} under their current names; `features` is `data.features` before.

    Raises InputError if a field is given under both of its names, or if an old switch is neither true nor false.
    """
    refuse_both_names(values.keys())
    renamed = {RENAMED.get(name, name): current_value(name, value) for name, value in values.items()}
    return without_switches(renamed, features)


def stored_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration {"section": {"field": value}} under the names that saved networks use."""
    return _by_section(sections, stored_fields)


def current_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration under its current names; what is not a section stays as it is.

    Raises InputError if a field is given under both of its names.
    """
    return _by_section(sections, current_fields)


def note_old_names(fields: Iterable[str]) -> None:
    """Print one line for each old name among "section.field" names, once a process and on the main rank only."""
    for field in fields:
        if field in _CURRENT and os.environ.get("RANK", "0") == "0":
            _note_once(field)


def field_names(sections: Mapping[str, Any]) -> list[str]:
    """The names "section.field" of a nested configuration."""
    return [f"{name}.{field}" for name, own in sections.items() if isinstance(own, Mapping) for field in own]


@functools.cache
def _note_once(old: str) -> None:
    _log.warning(f"{old} is now {_CURRENT[old]}; the old name is still read")


def _by_section(sections: Mapping[str, Any], rename: Any) -> dict[str, Any]:
    """Apply a renaming of flat fields to each section. No field moves to another section."""
    return {
        name: {
            field.partition(".")[2]: value
            for field, value in rename({f"{name}.{field}": value for field, value in own.items()}).items()
        }
        if isinstance(own, Mapping)
        else own
        for name, own in sections.items()
    }
