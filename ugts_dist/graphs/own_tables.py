"""The tables of a user's own graph: the node of each row, and the nodes' ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs import column_names, headers, id_columns
from ugts_dist.graphs.csv_files import TextFile
from ugts_dist.graphs.edge_columns import edge_columns
from ugts_dist.graphs.edge_options import EdgeOptions
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.headers import Header
from ugts_dist.graphs.id_columns import Columns
from ugts_dist.graphs.label_numbers import Numbers
from ugts_dist.graphs.label_options import LabelOptions
from ugts_dist.graphs.node_ids import IdKind, Integers, NodeIds, read_ids, refuse_repeated
from ugts_dist.graphs.own_labels import LabelTable
from ugts_dist.graphs.raw_labels import Classes
from ugts_dist.graphs.tables import Rows, Table, array_table, silent

Tell = Callable[[str], None]


@dataclass(frozen=True)
class TableOptions:
    """The user's options for tables.

    Attributes:
        header: whether text files begin with column names.
        id_column: name or number of the column with the nodes' ids; `none`, or empty.
        edges: which columns or files have weights and features of edges.
        labels: which columns have labels, and whether they are numbers.
    """

    header: Header = "auto"
    id_column: str = ""
    edges: EdgeOptions = field(default_factory=EdgeOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)


@dataclass(frozen=True)
class OwnTables:
    """The tables of a graph, with their columns of node ids.

    Attributes:
        tables: by part; a TextFile has words only, and the ids determine whether its first row is a header.
        columns: of features and labels.
        ids: of the nodes; None if nodes are numbered as the rows of the tables.
        order: the node of each row of tables without ids; None if no file has the order.
        numbers: the node of each row of the table with the ids.
    """

    tables: Mapping[str, TextFile | Rows]
    options: TableOptions
    columns: Mapping[str, Columns]
    ids: NodeIds | None
    order: Integers | None
    numbers: Mapping[str, Integers]
    tell: Tell

    @classmethod
    def of(cls, opened: Mapping[str, TextFile | Rows], options: TableOptions, tell: Tell) -> OwnTables:
        """Find the columns with ids. Raises InputError if the user's column is in no table."""
        wanted = options.id_column
        tables = dict(opened)
        for part in headers.NODES:
            if part in tables:
                tables[part] = _words_opened(tables[part], part)
        rows = {part: table for part in headers.NODES if isinstance(table := tables.get(part), Rows)}
        if wanted not in ("", id_columns.NO_COLUMN):
            named = [t for t in tables.values() if isinstance(t, Rows) and id_columns.named(t, wanted) is not None]
            if not named:
                raise InputError(f"--id-column: {wanted!r}; allowed: the name of a column, its number, or none")
        labels = options.labels.chosen(rows["labels"]) if "labels" in rows else ()
        has_both = "labels" in rows and rows["labels"].name == rows["features"].name
        columns = {"features": id_columns.choose(rows["features"], wanted, labels=labels if has_both else ())}
        if "labels" in rows:
            columns["labels"] = id_columns.choose_for_labels(rows["labels"], wanted, labels)
        if "ids" in rows:
            columns["ids"] = id_columns.choose(rows["ids"], wanted)
            if columns["ids"].ids is None and rows["ids"].num_columns == 1:
                columns["ids"] = Columns(0, ())
            if columns["ids"].ids is None:
                raise InputError(
                    f"{rows['ids'].name}: has no column of ids that can be told; allowed: --id-column NAME"
                )
        for part, chosen in columns.items():
            for unused in () if has_both and part == "labels" else chosen.unused:
                is_index = bool(rows[part].names) and column_names.is_row_number(rows[part].names[unused])
                why = "it is an index of pandas, beside ids" if is_index else "--label-columns does not name it"
                tell(f"{rows[part].name}: {rows[part].label(unused)} not used: {why}")
        source = next((part for part in ("ids", "features", "labels") if _has_ids(columns, part)), None)
        if source is None:
            return cls(tables, options, columns, None, None, {}, tell)
        kinds = [id_columns.kind_of(rows[part], c.ids) for part, c in columns.items() if c.ids is not None]
        kind: IdKind = "text" if "text" in kinds else "integers"
        column = columns[source].ids
        assert column is not None
        ids, numbers = read_ids(rows[source], column, kind)
        _tell_ids(rows[source], column, ids, numbers, tell)
        order = numbers if source == "ids" else None
        return cls(tables, options, columns, ids, order, {source: numbers}, tell)

    def labels(self) -> Classes | Numbers:
        """The class of each node, or its numbers; no label for all if no table has labels."""
        if "labels" not in self.tables:
            return Classes(self._rows("features").name, np.full(self._num_nodes(), -1, dtype=np.int64))
        rows, values = self._rows("labels"), self.columns["labels"].values
        num_nodes = None if self.ids is None else self.ids.num_nodes
        nodes_of = partial(self._nodes_of, "labels")
        table = LabelTable(rows, values, self.options.labels, nodes_of, num_nodes, self.tell)
        return table.read(self._rows("features").num_rows)

    def _num_nodes(self) -> int:
        """The number of nodes without the labels: of the ids, or else of the rows of the features."""
        if self.ids is not None:
            return self.ids.num_nodes
        rows = self._rows("features")
        if rows.num_rows is not None:
            return rows.num_rows
        return sum(len(block[0]) for block in rows.read([0], ["numbers"], silent))

    def features(self, num_nodes: int) -> tuple[Table, Integers | None]:
        """The features, and the node of each of their rows if these are not in order."""
        rows = self._rows("features")
        if not self.columns["features"].values:
            raise InputError(f"{rows.name}: has no column of features; allowed: at least one")
        table = rows.table("numbers", self.columns["features"].values)
        nodes = self._nodes_of("features", rows.num_rows)
        if nodes is None:
            return table, None
        refuse_repeated(rows, nodes)
        if len(nodes) != num_nodes:
            raise InputError(f"{rows.name}: has {len(nodes)} rows; allowed: {num_nodes}, one for each node")
        return table, None if (nodes == np.arange(num_nodes)).all() else nodes

    def split(self, split: str, num_nodes: int) -> Table:
        """The node ids of a split, or true and false for each node, as `RawGraph` needs them."""
        rows = self._opened_by_ids(split)
        columns = id_columns.choose(rows, self.options.id_column, num_values=1)
        if columns.ids is not None and not columns.values:  # only ids, and pandas' index
            columns = Columns(None, (columns.ids,))
        if len(columns.values) != 1:
            raise InputError(
                f"{rows.name}: has {rows.num_columns} columns; allowed: 1, of node ids, or of true and false"
            )
        (column,) = columns.values
        is_mask = rows.types_found[column] == "booleans"
        if rows.types_found[column] == "integers":
            values = rows.column(column, "integers")
            is_mask = len(values) == num_nodes > 2 and bool(np.isin(values, (0, 1)).all())
        if is_mask:
            mask = rows.column(column, "ids").astype(bool)
            return array_table(rows.name, self._masked(rows, columns, mask, split), "ids")
        if columns.ids is not None and not id_columns.numbers_rows(rows, columns.ids):
            raise InputError(f"{rows.name}: has {rows.label(column)} beside ids; allowed: true and false, or 1 and 0")
        if self.ids is None or self.ids.values is None or self._numbers_rows(rows, [column]):
            return rows.table("ids", [column])
        return array_table(rows.name, self.ids.numbers_in(rows, column), "ids")

    def edges(self) -> tuple[Table, EdgeTables]:
        """Sources and destinations, as node numbers, and the edges' weights and features."""
        rows = self._opened_by_ids("edges")
        ends = edge_columns(rows)
        return self._ends(rows, ends), self.options.edges.tables(rows, ends, self.tell)

    def _ends(self, rows: Rows, ends: tuple[int, int]) -> Table:
        if self.ids is not None and not self._numbers_rows(rows, ends):
            return self.ids.table(rows, ends)
        if "text" in (rows.types_found[ends[0]], rows.types_found[ends[1]]):
            raise InputError(
                f"{rows.name}: has words for nodes; allowed: numbers from 0 on, or ids that a column of features or "
                "labels has, or the file of --ids"
            )
        return rows.table("integers", ends)

    def _nodes_of(self, part: str, num_rows: int | None) -> Integers | None:
        """The node of each row; None if the rows are in the order of the nodes."""
        rows, column = self._rows(part), self.columns[part].ids
        if part in self.numbers:
            return self.numbers[part]
        if self.ids is None:
            return None
        if column is not None:
            return self.ids.numbers_in(rows, column)
        return self._in_order(rows, num_rows)

    def _in_order(self, rows: Rows, num_rows: int | None) -> Integers | None:
        """The node of each row of a table without ids if other tables have ids."""
        assert self.ids is not None
        if self.order is not None:
            if num_rows not in (None, len(self.order)):
                raise InputError(
                    f"{rows.name}: has {num_rows} rows; allowed: {len(self.order)}, as {self.ids.source} has"
                )
            return self.order
        if self.ids.values is None:
            self.tell(f"{rows.name}: has no column of ids; its rows are those of nodes 0, 1, 2, ...")
            return None
        raise InputError(
            f"{rows.name}: has no column of ids, and {self.ids.source} has; allowed: ids in both, or "
            f"--ids {self.ids.source}, which says that its rows have that order"
        )

    def _masked(self, rows: Rows, columns: Columns, mask: NDArray[np.bool_], split: str) -> NDArray[np.generic]:
        """A mask in the order of the nodes."""
        if columns.ids is not None and self.ids is not None:
            nodes = self.ids.numbers_in(rows, columns.ids)
            refuse_repeated(rows, nodes)
            return nodes[mask]
        if columns.ids is not None and not id_columns.numbers_rows(rows, columns.ids):
            return np.asarray(rows.column(columns.ids, "integers"))[mask]
        if self.ids is None or (self.ids.values is None and self.order is None):
            return mask
        order = self._in_order(rows, len(mask))
        assert order is not None
        return order[mask]

    def _numbers_rows(self, rows: Rows, columns: Sequence[int]) -> bool:
        """Whether columns number the rows of the tables, whose ids are words. Raises InputError if orders differ."""
        if self.ids is None or not self.ids.are_numbers(rows, columns):
            return False
        for part, chosen in self.columns.items():
            other = self._rows(part)
            if chosen.ids is not None and not self.ids.is_order_of(other, chosen.ids):
                raise InputError(
                    f"{rows.name}: has numbers of rows, but those of {other.name} and {self.ids.source} have different "
                    "orders; allowed: the nodes' ids"
                )
        self.tell(f"{rows.name}: has numbers, read as those of the rows of {self.ids.source}, from 0")
        return True

    def _opened_by_ids(self, part: str) -> Rows:
        """The rows of a table of words. Its first row is a header unless it has node ids."""
        table = self.tables[part]
        if isinstance(table, Rows):
            return table
        has_ids = self.ids is not None and self.ids.kind == "text"
        if has_ids and any(self._is_id(word) for word in table.rows[0]):
            return table.opened(header=False)
        self.tell(f"{table.path}: the first row, {headers.shown(table)}, is a header")
        return table.opened(header=True)

    def _is_id(self, word: str) -> bool:
        return self.ids is not None and self.ids.numbers(pa.array([word], pa.string()))[0] >= 0

    def _rows(self, part: str) -> Rows:
        rows = self.tables[part]
        assert isinstance(rows, Rows)
        return rows


def _words_opened(table: TextFile | Rows, part: str) -> Rows:
    """A table of words for nodes. Its first row is a header if none of its words occurs in its column again."""
    if isinstance(table, Rows):
        return table
    is_again = any(words[0] in words[1:] for words in zip(*table.rows, strict=False))
    return table.opened(header=part != "ids" and not is_again)


def _has_ids(columns: Mapping[str, Columns], part: str) -> bool:
    return part in columns and columns[part].ids is not None


def _tell_ids(rows: Rows, column: int, ids: NodeIds, numbers: Integers, tell: Tell) -> None:
    if ids.values is not None:
        tell(f"{rows.name}: {rows.label(column)} has the ids of {ids.num_nodes} nodes, which the store keeps")
    elif (numbers == np.arange(len(numbers))).all():
        tell(f"{rows.name}: {rows.label(column)} has the numbers of the nodes, in order")
    else:
        tell(f"{rows.name}: {rows.label(column)} has the numbers of the nodes; each row is put at its own")
