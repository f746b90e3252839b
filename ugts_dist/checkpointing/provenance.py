"""Where a saved network comes from: its data with the names of their classes and the statistics of their columns, and
the software. JSON of its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import ugts_dist
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.standardize import ColumnStatistics

# Only for standardised features, and only for classes with names; versions without them ignore them.
_COLUMNS, _CLASSES = "columns", "classes"


def provenance(
    data: DataChecksum, statistics: ColumnStatistics | None = None, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """Checksum of the data, versions of the software, statistics of standardised features, and names of classes."""
    known = {"data": data.to_dict(), "ugts_dist": ugts_dist.__version__, "torch": torch.__version__}
    known |= {} if statistics is None else {_COLUMNS: statistics.to_json()}
    return known | ({_CLASSES: list(class_names)} if class_names else {})


def shown_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance to show, with a checksum in place of the statistics of columns."""
    if _COLUMNS not in provenance:
        return dict(provenance)
    digest = hashlib.sha256(json.dumps(provenance[_COLUMNS], sort_keys=True).encode()).hexdigest()
    return {**provenance, _COLUMNS: f"mean and deviation of each, SHA-256 {digest[:8]}"}


def classes_of(provenance: Any) -> tuple[str, ...]:
    """The names of the classes that a network was trained on; empty if they are missing or not different texts."""
    names = provenance.get(_CLASSES) if isinstance(provenance, dict) else None
    if not isinstance(names, list) or not all(type(name) is str for name in names) or len(set(names)) < len(names):
        return ()
    return tuple(names)


def data_of(provenance: Any) -> DataChecksum | None:
    """The data that a network was trained on; None if they are missing or in an unknown format."""
    try:
        return DataChecksum.from_dict(provenance["data"])
    except (KeyError, TypeError, ValueError):
        return None


def statistics_of(provenance: Any, path: Path) -> ColumnStatistics | None:
    """The statistics of the columns; None if there are none. Raises InputError, with the path, for damaged ones."""
    if not isinstance(provenance, dict) or _COLUMNS not in provenance:
        return None
    try:
        return ColumnStatistics.from_json(provenance[_COLUMNS])
    except ValueError as error:
        raise InputError(f"{path}: damaged statistics of the columns ({error})") from None
