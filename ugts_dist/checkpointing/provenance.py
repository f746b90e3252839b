"""Where a saved network comes from: its data with the names of their classes and the statistics of their columns, and
the software. JSON of its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import ugts_dist
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.standardize import ColumnStatistics
from ugts_dist.graphs.targets import Scale
from ugts_dist.metrics import DEFAULTS, Kind

# Only for standardised features, and only for classes with names; versions without them ignore them.
_COLUMNS, _CLASSES, _LABELS, _WEIGHTS = "columns", "classes", "labels", "edge_weights"


@dataclass(frozen=True)
class TrainedOn:
    """The data that a network is trained on.

    Attributes:
        checksum: of all of it.
        statistics: of standardised features.
        class_names: of classes that have names.
        edge_weights: whether its edges have weights, which the network reads.
        labels: the kind of the labels, and the scale of targets; empty if the network alone says the kind, which has
            one class a node, or labels of whole graphs.
    """

    checksum: DataChecksum
    statistics: ColumnStatistics | None = None
    class_names: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    edge_weights: bool = False

    @classmethod
    def of(cls, data: Data, labels: Mapping[str, Any]) -> TrainedOn:
        if isinstance(data, GraphSet):
            return cls(DataChecksum.of(data), labels=labels)
        names = data.class_names if labels.get("kind") != "link" else ()
        return cls(DataChecksum.of(data), data.statistics, names, labels, data.edge_weight is not None)

    def brief(self) -> TrainedOn:
        """The same with a shorter checksum."""
        return replace(self, checksum=self.checksum.brief())


@dataclass(frozen=True)
class Labels:
    """What a saved network predicts.

    Attributes:
        kind: None if the network alone says it.
        scale: of targets.
    """

    kind: Kind | None = None
    scale: Scale | None = None

    def kind_of(self, graph_level: bool) -> Kind:
        """The kind, also if the network alone says it: whether it predicts for whole graphs."""
        return self.kind or ("multilabel" if graph_level else "classification")


def provenance(trained_on: TrainedOn) -> dict[str, Any]:
    """Checksum of the data, versions of the software, and what only some data have."""
    known: dict[str, Any] = {
        "data": trained_on.checksum.to_dict(),
        "ugts_dist": ugts_dist.__version__,
        "torch": torch.__version__,
    }
    known |= {} if trained_on.statistics is None else {_COLUMNS: trained_on.statistics.to_json()}
    known |= {_CLASSES: list(trained_on.class_names)} if trained_on.class_names else {}
    known |= {_WEIGHTS: True} if trained_on.edge_weights else {}
    return known | ({_LABELS: dict(trained_on.labels)} if trained_on.labels else {})


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


def has_edge_weights(provenance: Any) -> bool:
    """Whether the network was trained on a graph with edge weights."""
    return isinstance(provenance, dict) and provenance.get(_WEIGHTS) is True


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


def labels_of(provenance: Any, path: Path) -> Labels:
    """What the network predicts. Raises InputError, with the path, for a kind that is unknown or damaged targets."""
    entry = provenance.get(_LABELS) if isinstance(provenance, dict) else None
    if entry is None:
        return Labels()
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if kind not in DEFAULTS:
        raise InputError(f"{path}: predicts labels of the kind {kind!r:.40}, allowed are {', '.join(DEFAULTS)}")
    try:
        return Labels(kind, Scale.from_json(entry) if kind == "regression" else None)
    except ValueError as error:
        raise InputError(f"{path}: damaged scale of the targets ({error})") from None
