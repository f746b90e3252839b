"""Classes with names or with gaps between their numbers become 0, 1, 2, ...; a store keeps their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.graphs.graph import Graph

Integers = NDArray[np.int64]

_MOST_COUNTED = 1 << 24  # the highest label for which counting is cheaper than sorting


def of_words(words: pa.Array) -> tuple[Integers, tuple[str, ...]]:
    """The class of each word and the sorted names of the classes; -1 for an empty word, which is no label."""
    encoded = words.dictionary_encode()
    found = [word.strip() for word in encoded.dictionary.to_pylist()]
    names = tuple(sorted({name for name in found if name}))
    numbers = {name: number for number, name in enumerate(names)}
    number_of = np.array([numbers.get(name, -1) for name in found] or [-1], dtype=np.int64)
    return number_of[encoded.indices.to_numpy(zero_copy_only=False)], names


def without_gaps(labels: Integers) -> tuple[Integers, tuple[str, ...]]:
    """Number the existing labels in their order, and name each class after its label.

    Labels 0 to C - 1 without gaps stay as they are, and their classes have no names. Negative labels stay: they mean no
    label.
    """
    present = _present(labels[labels >= 0])
    if not len(present) or present[-1] == len(present) - 1:
        return labels, ()
    numbered = np.searchsorted(present, labels)
    return np.where(labels < 0, labels, numbered), tuple(map(str, present.tolist()))


def labels_of(graph: Graph, classes: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """The label of each node as a network numbers its classes, and the classes of the graph that it does not have.

    Classes are the same if they have the same name; a class without a name is called by its number. Labels are
    `[num_nodes]` int64: -1 without a label, `len(classes)` for a class that the network does not have.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    theirs = graph.class_names or tuple(map(str, range(graph.num_classes)))
    number_of = torch.tensor([numbers.get(name, len(classes)) for name in theirs] or [-1])
    labels = torch.where(graph.y < 0, -1, number_of[graph.y.clamp(min=0)])
    return labels, tuple(name for name in theirs if name not in numbers)


def summary(names: tuple[str, ...]) -> str:
    """The number of classes and the first names."""
    shown = ", ".join(names[:4])
    return f"{len(names)} classes: {shown}{', ...' if len(names) > 4 else ''}"


def _present(labels: Integers) -> Integers:
    if len(labels) and labels.max() < _MOST_COUNTED:
        return np.flatnonzero(np.bincount(labels))
    return np.unique(labels)
