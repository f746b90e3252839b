"""Chooses the columns that have the labels of nodes, and whether they are classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ugts_dist.errors import InputError
from ugts_dist.graphs.id_columns import named
from ugts_dist.graphs.tables import Rows


@dataclass(frozen=True)
class LabelOptions:
    """The user's options for labels.

    Attributes:
        columns: names or numbers of the columns; empty: all except the ids.
        numbers: whether whole numbers in one column are targets, not classes.
    """

    columns: tuple[str, ...] = ()
    numbers: bool = False

    def chosen(self, rows: Rows) -> tuple[int, ...]:
        """The columns that the user names. Raises InputError for one that the table does not have, or named twice."""
        columns: list[int] = []
        for wanted in self.columns:
            column = 0 if wanted == "1" and rows.num_columns == 1 else named(rows, wanted)
            if column is None or column in columns:
                names = ", ".join(rows.names) if rows.names else f"1 to {rows.num_columns}"
                raise InputError(f"--label-columns: {wanted!r}; allowed: columns of {rows.name} ({names}), each once")
            columns.append(column)
        return tuple(columns)

    def are_numbers(self, rows: Rows, columns: tuple[int, ...]) -> bool:
        """Whether these columns have numbers: several ones, fractions, or as the user says.

        Raises InputError for words where numbers are needed.
        """
        if len(columns) == 1 and not self.numbers:
            return rows.types_found[columns[0]] == "numbers"
        reason = "--numbers" if len(columns) == 1 else f"{len(columns)} columns of labels"
        for column in columns:
            if rows.types_found[column] == "text":
                allowed = f"numbers, with {reason} (--label-columns chooses columns, --id-column that of the ids)"
                raise InputError(f"{rows.name}: {rows.label(column)} has words; allowed: {allowed}")
        return True
