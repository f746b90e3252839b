"""What the network of a ticket expects of features, and what its outputs mean; for programs that read an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.checkpointing.provenance import has_edge_weights
from ugts_dist.checkpointing.saved_network import Named, SavedNetwork, of_ticket
from ugts_dist.config_features import RAW, is_standardized
from ugts_dist.errors import InputError
from ugts_dist.graphs.catalogue import NAMES
from ugts_dist.graphs.standardize import ColumnStatistics
from ugts_dist.graphs.targets import Scale
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.prediction_files import class_names


@dataclass(frozen=True)
class Inputs:
    """Attributes:
    num_features: number of features of a node.
    row_normalize: whether the features of a node are divided by their sum if that exceeds 1.
    standardize: whether columns are standardised, after that.
    statistics: of the training graph, for that; None if the file of an older version lacks them.
    classes: names of the classes, in the order of the outputs; empty if unknown.
    targets: the scale of targets: outputs times deviation plus mean; None if it does not predict targets.
    edge_weights: whether it reads weights of edges.
    from_zero: whether, before row_normalize, the lowest of all features is subtracted from each; of built-in datasets.
    """

    num_features: int
    row_normalize: bool
    standardize: bool
    statistics: ColumnStatistics | None
    classes: tuple[str, ...]
    targets: Scale | None = None
    edge_weights: bool = False
    from_zero: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values. Standardised features are `(x - mean) * factor`."""
        values: dict[str, Any] = {"num_features": self.num_features, "row_normalize": self.row_normalize}
        values["standardize"] = self.standardize
        values |= {"edge_weights": True} if self.edge_weights else {}
        if self.statistics is not None:
            values |= {"mean": self.statistics.mean.tolist(), "factor": self.statistics.factor.tolist()}
        values |= {"classes": list(self.classes)} if self.classes else {}
        return values | ({"targets": self.targets.to_json()} if self.targets is not None else {})

    def scaling(self, read: str) -> list[str]:
        """Lines of Python that scale the features `x`, a float tensor; `read` is an expression for `to_json`."""
        lines = [f"inputs = {read}"] if self.targets or (self.standardize and self.statistics) else []
        if self.row_normalize:
            first = "x = x - x.min(); " if self.from_zero else ""
            lines.append(f"{first}x = x / x.sum(1, keepdim=True).clamp(min=1)")
        if self.standardize and self.statistics is None:
            lines.append("x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-12)")
        elif self.standardize:
            lines.append('x = (x - torch.tensor(inputs["mean"])) * torch.tensor(inputs["factor"])')
        return lines

    def restoring(self) -> list[str]:
        """A line of Python that gives the targets in their own units; none without targets."""
        scale = 'torch.tensor(inputs["targets"]["{}"])'
        restored = f"targets = torch.as_tensor(logits) * {scale.format('deviation')} + {scale.format('mean')}"
        return [] if self.targets is None else [restored]


def inputs_of(ticket: Ticket, path: Path) -> Inputs | None:
    """Those of a ticket's network; None for a ticket without configuration, and for a network of whole graphs."""
    if not ticket.config:
        return None
    saved = of_ticket(ticket, path)
    if saved.is_graph_level:
        return None
    name, features = _data_name(saved), saved.config.data.features
    standardized = is_standardized(features)
    return Inputs(
        num_features=saved.num_features,
        row_normalize=features == "row-normalize" or (name in NAMES and features not in RAW),
        standardize=standardized,
        statistics=saved.statistics if standardized else None,
        classes=known_classes(saved),
        targets=saved.labels.scale,
        edge_weights=has_edge_weights(ticket.provenance),
        from_zero=name in NAMES,
    )


def known_classes(saved: SavedNetwork) -> tuple[str, ...]:
    """The names of the classes; networks of older versions do not have them, but the store of the graph may."""
    if saved.class_names or saved.kind != "classification":
        return saved.class_names
    return class_names(_data_name(saved), saved.num_outputs)


def _data_name(saved: SavedNetwork) -> str:
    """The name or path of the training data, with the help of the run's folder."""
    try:
        return saved.with_data(Named()).config.data.name
    except InputError:  # a store that is not on this machine
        return saved.config.data.name
