"""The labels in a user's own table: one class a node, or several numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ugts_dist.errors import InputError
from ugts_dist.graphs import classes
from ugts_dist.graphs.label_numbers import Numbers, notes, read_numbers
from ugts_dist.graphs.label_options import LabelOptions
from ugts_dist.graphs.node_ids import Integers, refuse_repeated
from ugts_dist.graphs.raw_labels import Classes
from ugts_dist.graphs.tables import Rows


@dataclass(frozen=True)
class LabelTable:
    """A table with the labels of nodes.

    Attributes:
        columns: those with labels.
        nodes_of: the node of each row, from the number of rows (None: not known yet); None if rows are in order.
        num_nodes: the number of nodes, if nodes have ids.
    """

    rows: Rows
    columns: tuple[int, ...]
    options: LabelOptions
    nodes_of: Callable[[int | None], Integers | None]
    num_nodes: int | None
    tell: Callable[[str], None]

    def read(self, expected: int | None) -> Classes | Numbers:
        """The labels of all nodes. `expected`: number of rows, if known. Raises InputError that names file and row."""
        if not self.columns:
            raise InputError(f"{self.rows.name}: has no column of labels; allowed: one or more")
        return self._numbers(expected) if self.options.are_numbers(self.rows, self.columns) else self._classes()

    def _classes(self) -> Classes:
        labels, names = self._class_column()
        nodes = self.nodes_of(len(labels))
        if nodes is None:
            return Classes(self.rows.name, labels, names)
        num_nodes = len(labels) if self.num_nodes is None else self.num_nodes
        of_nodes = np.full(num_nodes, -1, dtype=np.int64)
        of_nodes[nodes] = labels
        self._check_rows(nodes, num_nodes)
        return Classes(self.rows.name, of_nodes, names)

    def _class_column(self) -> tuple[Integers, tuple[str, ...]]:
        """The class of each row, and the names of classes that are words."""
        rows, (column,) = self.rows, self.columns
        if rows.types_found[column] == "text":
            labels, names = classes.of_words(rows.column(column, "text"))
            self.tell(f"{rows.name}: {classes.summary(names)}")
            return labels, names
        try:
            return rows.column(column, "integers").astype(np.int64), ()
        except InputError as error:
            raise InputError(f"{error}, or --numbers, for targets") from None

    def _numbers(self, expected: int | None) -> Numbers:
        nodes, num_nodes = self.nodes_of(self.rows.num_rows), self.num_nodes or 0
        if nodes is not None:
            self._check_rows(nodes, num_nodes)
        numbers = read_numbers(self.rows.table("targets", self.columns), expected, nodes, num_nodes)
        for note in notes(numbers, self.options.numbers):
            self.tell(note)
        return numbers

    def _check_rows(self, nodes: Integers, num_nodes: int) -> None:
        refuse_repeated(self.rows, nodes)
        if len(nodes) < num_nodes:
            missing = f"{num_nodes - len(nodes)} of {num_nodes} nodes have no row, and so no label"
            self.tell(f"{self.rows.name}: {missing}")
