"""The labels of a graph that is prepared: one class a node, or several numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.classes import summary, without_gaps
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.graphs.tables import Table

Integers = NDArray[np.int64]
Splits = Mapping[str, Integers]

_INT64 = np.dtype(np.int64)


class NodeLabels(Protocol):
    """The labels of all nodes."""

    @property
    def y(self) -> NDArray[Any]:
        """[num_nodes] classes, negative: none; or [num_nodes, columns] numbers, NaN: unknown."""
        ...

    @property
    def num_nodes(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class, or none."""
        ...

    def numbered(self, tell: Callable[[str], None]) -> NodeLabels:
        """Classes without gaps."""
        ...

    def labelled(self) -> Integers:
        """The ascending nodes with a label."""
        ...

    def checked(self, splits: Splits) -> int:
        """The width of the output. Raises InputError for a label out of range, and a node of a split without one."""
        ...

    def write(self, store: StoreWriter) -> None:
        """Write the array y."""
        ...


@dataclass(frozen=True, eq=False)
class Classes:
    """One class for each node.

    Attributes:
        name: of the file.
        y: [num_nodes]; negative: no label.
        class_names: one per class, or none.
        num_classes: if it is given.
    """

    name: str
    y: Integers
    class_names: tuple[str, ...] = ()
    num_classes: int | None = None

    @property
    def num_nodes(self) -> int:
        return len(self.y)

    def numbered(self, tell: Callable[[str], None]) -> Classes:
        """Classes without gaps, with names if there were gaps, unless their names or number are given."""
        if self.class_names or self.num_classes is not None:
            return self
        y, names = without_gaps(self.y)
        if names:
            empty = int(self.y.max()) + 1 - len(names)
            tell(
                f"{self.name}: {empty} of the classes 0 to {self.y.max()} have no nodes; left are {summary(names)}; "
                "predictions have these numbers (--num-classes N keeps empty classes)"
            )
        return Classes(self.name, y, names)

    def labelled(self) -> Integers:
        return np.flatnonzero(self.y >= 0)

    def checked(self, splits: Splits) -> int:
        num_classes = self.num_classes or len(self.class_names) or max(0, int(self.y.max()) + 1)
        wrong = self.y >= num_classes
        for nodes in splits.values():
            wrong[nodes] |= self.y[nodes] < 0
        if wrong.any():
            node, allowed = np.flatnonzero(wrong)[0], f"0 to {num_classes - 1}, negative only outside the splits"
            raise InputError(f"{self.name}: node {node} has label {self.y[node]}; allowed: {allowed}")
        return num_classes

    def write(self, store: StoreWriter) -> None:
        store.write("y", _INT64, [self.y])


def read_classes(
    table: Table, expected: int | None, class_names: tuple[str, ...] = (), num_classes: int | None = None
) -> Classes:
    """The class of each node, from a table of integers. Raises InputError for another number of columns."""
    if table.num_columns != 1:
        raise InputError(f"{table.name}: has {table.num_columns} columns; allowed: 1")
    return Classes(table.name, table.whole(expected)[:, 0].astype(np.int64), class_names, num_classes)
