"""`data.features`, and the two switches that it replaced: `data.row_normalize` and `data.standardize`.

Hashes and saved networks keep the switches, as they keep the old names of renamed fields (`ugts_dist.config_names`).
A value that the switches can't express is stored as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ugts_dist.errors import InputError

Features = Literal["auto", "standardize", "standardize-raw", "row-normalize", "none"]
FEATURES = "data.features"
RAW = ("none", "standardize-raw")  # of built-in datasets, without row normalisation
SWITCHES = ("data.row_normalize", "data.standardize")
_SWITCHES_OF: dict[str, tuple[bool, bool]] = {
    "auto": (True, False),
    "none": (False, False),
    "standardize": (True, True),
    "standardize-raw": (False, True),
}
_FEATURES_OF = {switches: features for features, switches in _SWITCHES_OF.items()}


def is_standardized(features: str) -> bool:
    """Whether the columns get mean 0 and deviation 1."""
    return features in ("standardize", "standardize-raw")


def with_switches(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Flat fields {"section.field": value} with the switches in place of `data.features`, if they can express it."""
    stored: dict[str, Any] = {}
    for name, value in fields.items():
        known = name == FEATURES and isinstance(value, str) and value in _SWITCHES_OF
        stored |= dict(zip(SWITCHES, _SWITCHES_OF[value], strict=True)) if known else {name: value}
    return stored


def without_switches(fields: Mapping[str, Any], base: str = "auto") -> dict[str, Any]:
    """Flat fields with `data.features` in place of the switches. A switch that is not given is that of `base`.

    Raises InputError for a switch beside `data.features`, and for one that is not true or false.
    """
    given = [name for name in SWITCHES if name in fields]
    if not given:
        return dict(fields)
    if FEATURES in fields:
        raise InputError(f"{FEATURES} replaces {' and '.join(given)}; remove the old name")
    before = _SWITCHES_OF.get(base, _SWITCHES_OF["auto"])
    switches = {name: _checked(name, fields.get(name, default)) for name, default in zip(SWITCHES, before, strict=True)}
    after = (switches[SWITCHES[0]], switches[SWITCHES[1]])
    features = base if after == before else _FEATURES_OF[after]
    current: dict[str, Any] = {}
    for name, value in fields.items():
        current |= {FEATURES: features} if name in SWITCHES else {name: value}
    return current


def _checked(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise InputError(f"{name} is {value!r:.80}, allowed is true or false")
    return value
