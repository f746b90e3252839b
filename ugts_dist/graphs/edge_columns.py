"""Finds the columns with sources and destinations in a table of edges."""

from __future__ import annotations

import numpy as np

from ugts_dist.errors import InputError
from ugts_dist.graphs import column_names
from ugts_dist.graphs.tables import Rows, silent


def edge_columns(rows: Rows) -> tuple[int, int]:
    """The columns with source and destination. Raises InputError if there are none, or they are ambiguous."""
    if rows.num_columns < 2:
        raise InputError(f"{rows.name}: has {rows.num_columns} columns; allowed: 2, source and destination")
    if named := column_names.ends(rows.names):
        return named
    first = 1 if rows.names and rows.num_columns > 2 and column_names.is_row_number(rows.names[0]) else 0
    if not rows.names and rows.num_columns > 2 and rows.types_found[2] == "integers":
        head = next(rows.read([0], ["integers"], silent), [np.empty(0)])[0]
        if len(head) > 1 and (head == np.arange(len(head))).all():
            raise InputError(
                f"{rows.name}: has {rows.num_columns} columns, the first of which numbers the rows; allowed: 2, or a "
                "header with source and destination"
            )
    return first, first + 1
