"""The accuracy of predictions for a graph that has labels, counted while the predictions are written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph

_UNCOUNTED = -1


@dataclass
class Accuracy:
    """Counts right predictions.

    Attributes:
        labels: of the nodes that count, as the network numbers its classes; -1 for all other nodes.
        nodes: what the nodes that count are called.
    """

    labels: Tensor
    nodes: str
    right: int = 0
    total: int = 0

    @classmethod
    def of(cls, graph: Graph, labels: Tensor) -> Accuracy | None:
        """To count the test nodes, or all labelled nodes of a graph without a split; None if there are none."""
        if not graph.has_split:
            return cls(labels, "labelled nodes") if bool((labels >= 0).any()) else None
        counted = torch.full_like(labels, _UNCOUNTED)
        counted[graph.test] = labels[graph.test]
        return cls(counted, "test nodes")

    def count(self, first: int, logits: Tensor) -> None:
        """Count the predictions `[rows, num_classes]` for the nodes from number `first` on."""
        labels = self.labels[first : first + len(logits)]
        self.right += int((logits.argmax(1) == labels).sum())
        self.total += int((labels >= 0).sum())

    def __str__(self) -> str:
        return f"accuracy {self.right / self.total:.4f} on {self.total:,} {self.nodes}"
