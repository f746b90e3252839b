"""Where a saved network comes from: its data, the statistics of their columns, the software. JSON of its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import ugts_dist
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.standardize import ColumnStatistics

_COLUMNS = "columns"  # only for standardised features; versions without it ignore it


def provenance(data: DataChecksum, statistics: ColumnStatistics | None = None) -> dict[str, Any]:
    """Checksum of the data, versions of the software, and statistics of standardised features."""
    known = {"data": data.to_dict(), "ugts_dist": ugts_dist.__version__, "torch": torch.__version__}
    return known if statistics is None else known | {_COLUMNS: statistics.to_json()}


def shown_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance to show, with a checksum in place of the statistics of columns."""
    if _COLUMNS not in provenance:
        return dict(provenance)
    digest = hashlib.sha256(json.dumps(provenance[_COLUMNS], sort_keys=True).encode()).hexdigest()
    return {**provenance, _COLUMNS: f"mean and deviation of each, SHA-256 {digest[:8]}"}


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
