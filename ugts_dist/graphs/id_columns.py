"""Finds the column with the node ids, and those with values, in a table of nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs import column_names
from ugts_dist.graphs.node_ids import IdKind, is_permutation
from ugts_dist.graphs.tables import Kind, Rows, silent

NO_COLUMN = "none"
_MOST_LOOKED_AT = 64  # columns of a table; in a wider one only the first column, or one with a usual name, has ids


@dataclass(frozen=True)
class Columns:
    """The roles of a table's columns.

    Attributes:
        ids: the column with the nodes' ids, or None.
        values: all others except ``unused``.
        unused: pandas' index in a table with ids, and beside chosen columns of labels all others.
    """

    ids: int | None
    values: tuple[int, ...]
    unused: tuple[int, ...] = ()


def choose(rows: Rows, wanted: str, num_values: int | None = None, labels: tuple[int, ...] = ()) -> Columns:
    """Choose the column with ids: the one in ``wanted``, or by name or content.

    ``wanted`` is a name, a number from 1 on, `none`, or empty. ``num_values`` is the number of other columns, if known.
    ``labels`` are columns with labels in a table that has more than these: they have no other role. Raises InputError
    if a column is ambiguous.
    """
    if rows.num_columns - len(labels) < 1 or rows.num_columns == 1:
        ids = None
    elif wanted:
        ids = None if wanted == NO_COLUMN else named(rows, wanted)
    else:
        ids = _by_name(rows, num_values, labels)
        ids = _by_content(rows, num_values, labels) if ids is None else ids
    others = tuple(column for column in range(rows.num_columns) if column != ids and column not in labels)
    unused = others if rows.names and ids is not None else ()
    unused = tuple(column for column in unused if column_names.is_row_number(rows.names[column]))
    return Columns(ids, tuple(column for column in others if column not in unused), unused)


def choose_for_labels(rows: Rows, wanted: str, labels: tuple[int, ...]) -> Columns:
    """As ``choose``, for a table of labels: in the columns ``labels``, or without these in all except the ids.

    If ``wanted`` is a column of another table, the choice is by name or content here. Raises InputError also if a
    column of labels looks like ids.
    """
    if wanted != NO_COLUMN and named(rows, wanted) is None:
        wanted = ""
    if labels:
        columns = choose(rows, wanted, labels=labels)
        return Columns(columns.ids, labels, (*columns.values, *columns.unused))
    columns = choose(rows, wanted, num_values=1 if rows.num_columns == 2 else None)
    if columns.ids is None and not wanted and rows.num_columns > 1:
        _refuse_ids(rows)
    return columns


def _refuse_ids(rows: Rows) -> None:
    """Raise InputError if a column of several has the name of ids, or other entries in each row."""
    named_so = [column for column, name in enumerate(rows.names) if column_names.ends_like_id(name)]
    others = (column for column in dict.fromkeys((0, *_distinct(rows))) if _is_unique(rows, column))
    suspect = named_so[0] if named_so else next(others, None)
    if suspect is not None:
        why = "has a name that ids have" if named_so else "has another entry in each row, as ids have"
        name = rows.names[suspect] if rows.names else suspect + 1
        raise InputError(
            f"{rows.name}: {rows.label(suspect)} {why}; allowed: --id-column {name}, --id-column none, or "
            "--label-columns with those of labels"
        )


def named(rows: Rows, wanted: str) -> int | None:
    """The column of this name, or of this number in a table of several columns; None if there is none."""
    if wanted in rows.names:
        return rows.names.index(wanted)
    if wanted.isdecimal() and rows.num_columns > 1 and 0 < int(wanted) <= rows.num_columns:
        return int(wanted) - 1
    return None


def kind_of(rows: Rows, column: int) -> IdKind:
    """How a column of ids is read. Raises InputError for values that can't be ids."""
    found = rows.types_found[column]
    if found in ("booleans", "other"):
        raise InputError(f"{rows.name}: {rows.label(column)} holds {found}; allowed: ids, integers or text")
    return "text" if found in ("text", "mixed") else "integers"


def _by_name(rows: Rows, num_values: int | None, labels: tuple[int, ...]) -> int | None:
    ids = [column for column, name in enumerate(rows.names) if column_names.is_id(name) and column not in labels]
    better = [column for column in ids if not column_names.is_row_number(rows.names[column])]
    if better or ids:
        return (better or ids)[0]
    if rows.names and 0 not in labels and column_names.ends_like_id(rows.names[0]) and _is_unique(rows, 0):
        return 0
    if rows.names and num_values == 1 and rows.num_columns == 2 and column_names.is_label(rows.names[1]):
        return 0
    return None


def _by_content(rows: Rows, num_values: int | None, labels: tuple[int, ...]) -> int | None:
    """The first column without labels if it has words, or each of 0 to N - 1 or 1 to N once.

    If a table has two columns, and one value per node in one of them, the column with distinct entries has the ids.
    """
    first = next(column for column in range(rows.num_columns) if column not in labels)
    if rows.types_found[first] == "text" and num_values is None:
        return first
    if num_values == 1 and rows.num_columns == 2:
        unique = [column for column in (0, 1) if _is_unique(rows, column)]
        return unique[0] if len(unique) == 1 else None
    candidates = [column for column in _distinct(rows) if column not in labels and _is_numbering(rows, column)]
    if not candidates or candidates[0] == first:
        return candidates[0] if candidates else None
    raise InputError(
        f"{rows.name}: {rows.label(candidates[0])} has the number of each row once, as ids have; allowed: "
        f"--id-column {rows.names[candidates[0]] if rows.names else candidates[0] + 1}, or --id-column none"
    )


def _distinct(rows: Rows) -> list[int]:
    """The columns whose first values are distinct whole numbers from 0 on."""
    numeric = [column for column, found in enumerate(rows.types_found) if found in ("integers", "numbers")]
    looked_at = [column for column in numeric if rows.num_columns <= _MOST_LOOKED_AT or column == 0]
    kinds: list[Kind] = ["targets"] * len(looked_at)  # labels may be unknown
    block = next(rows.read(looked_at, kinds, silent), []) if looked_at else []
    return [
        column
        for column, values in zip(looked_at, block, strict=False)
        if len(values) > 2 and _are_counts(values) and len(np.unique(values)) == len(values)
    ]


def _are_counts(values: NDArray[np.float64]) -> bool:
    return bool((values >= 0).all() and np.isfinite(values).all() and (values % 1 == 0).all())


def _is_numbering(rows: Rows, column: int) -> bool:
    values = rows.column(column, "targets")
    return is_permutation(values, 0) or is_permutation(values, 1)


def _is_unique(rows: Rows, column: int) -> bool:
    if rows.types_found[column] not in ("integers", "text", "mixed"):
        return False
    values = rows.column(column, "text")
    return len(values.unique()) == len(values)


def numbers_rows(rows: Rows, column: int) -> bool:
    """Whether the column is 0, 1, 2, ..."""
    if rows.types_found[column] != "integers":
        return False
    values = rows.column(column, "integers")
    return bool((values == np.arange(len(values))).all())
