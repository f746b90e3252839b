"""Chooses the columns, or files, that have the weights and features of edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs import column_names
from ugts_dist.graphs.csv_files import is_text_file
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.id_columns import NO_COLUMN, named
from ugts_dist.graphs.row_files import open_table
from ugts_dist.graphs.tables import Rows, Table


@dataclass(frozen=True)
class EdgeOptions:
    """The user's options for weights and features.

    Attributes:
        weight: a column of the edges by name or number, a file, `none`, or empty: a column with a usual name.
        features: columns of the edges, or one file, or `none`.
    """

    weight: str = ""
    features: tuple[str, ...] = ()

    def fields(self) -> tuple[str, ...]:
        """The fields of a PyG Data to read. Raises InputError for columns and files, which a Data does not have."""
        for option, given in (("--edge-weight", self.weight), ("--edge-features", " ".join(self.features))):
            if given not in ("", NO_COLUMN):
                raise InputError(f"{option}: {given!r}; allowed with --data: none, which leaves out what the Data has")
        left_out = {"edge_weight": self.weight, "edge_attr": " ".join(self.features)}
        return tuple(field for field, given in left_out.items() if given != NO_COLUMN)

    def tables(self, rows: Rows, ends: Sequence[int], tell: Callable[[str], None]) -> EdgeTables:
        """The tables of weights and features beside the edges in ``rows``, whose ends are two of its columns.

        ``tell`` is called with a line about the columns. Raises InputError for a column or file that is missing.
        """
        used = set(ends)
        attr = self._features(rows, ends, used)
        weight = self._weight(rows, ends, used, tell)
        if unused := [rows.label(column) for column in range(rows.num_columns) if column not in used]:
            tell(f"{rows.name}: {', '.join(unused[:3])} not used (see --edge-weight and --edge-features)")
        return EdgeTables(weight, attr)

    def _weight(self, rows: Rows, ends: Sequence[int], used: set[int], tell: Callable[[str], None]) -> Table | None:
        if self.weight == NO_COLUMN:
            return None
        if _is_file(self.weight):
            return open_table(Path(self.weight), "numbers")
        if self.weight:
            column = _column(rows, self.weight, ends, used, "--edge-weight", "or a file, or none")
        else:
            usual = [n for n, name in enumerate(rows.names) if column_names.is_weight(name) and n not in used]
            if not usual:
                return None
            column = usual[0]
            tell(f"{rows.name}: {rows.label(column)} has the weights of the edges; --edge-weight none leaves it out")
            used.add(column)
        return rows.table("numbers", [column])

    def _features(self, rows: Rows, ends: Sequence[int], used: set[int]) -> Table | None:
        if self.features in ((), (NO_COLUMN,)):
            return None
        if len(self.features) == 1 and _is_file(self.features[0]):
            return open_table(Path(self.features[0]), "numbers")
        columns = [_column(rows, wanted, ends, used, "--edge-features", "or one file") for wanted in self.features]
        return rows.table("numbers", columns)


def _column(rows: Rows, wanted: str, ends: Sequence[int], used: set[int], option: str, others: str) -> int:
    """The wanted column, which becomes a used one. Raises InputError for one that is missing, an end, or used."""
    column = named(rows, wanted)
    free = [column for column in range(rows.num_columns) if column not in ends]
    columns = ", ".join(rows.names[column] if rows.names else str(column + 1) for column in free)
    allowed = f"column of {rows.name} ({columns}), {others}"
    if column is None:
        raise InputError(f"{option}: {wanted!r}; allowed: a {allowed}")
    if column in used:
        problem = "has an end of the edges" if column in ends else "is chosen twice"
        raise InputError(f"{option}: {wanted!r} {problem}; allowed: another {allowed}")
    used.add(column)
    return column


def _is_file(text: str) -> bool:
    return text.endswith((".npy", ".parquet")) or is_text_file(Path(text))
