"""What the labels of a graph are, in words."""

from __future__ import annotations

from torch import Tensor

from ugts_dist.graphs.graph import Graph


def are_binary(y: Tensor) -> bool:
    """Whether all known numbers are 0 or 1."""
    return bool(((y == 0) | (y == 1) | y.isnan()).all())


def labels_in_words(graph: Graph) -> str:
    """Such as "7 classes", "3 labels at once" or "2 targets", from the numbers of the training nodes."""
    count = graph.num_classes
    if not count:
        return "no labels"
    if graph.has_classes:
        return f"{count} classes"
    y = graph.y[graph.train] if graph.has_split else graph.y
    if not are_binary(y):
        return f"{count} targets" if count > 1 else "1 target"
    return f"{count} labels at once" if count > 1 else "1 label of 0 and 1"
