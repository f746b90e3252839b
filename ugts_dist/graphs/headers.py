"""Decides whether the first row of a text file is a header if the file alone is ambiguous, such as 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from ugts_dist.errors import InputError
from ugts_dist.graphs.csv_files import TextFile
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.tables import Rows

Header = Literal["auto", "yes", "no"]
Tell = Callable[[str], None]

NODES = ("features", "labels", "ids")  # tables with one row per node


def decide(files: Mapping[str, TextFile | Rows], header: Header, tell: Tell) -> dict[str, TextFile | Rows]:
    """The files of a graph, by part, after deciding whether their first rows are headers.

    A file of words only stays a TextFile, which the node ids decide later. pandas writes 0, 1, 2, ... for columns
    without names. Such a first row is a header if the table otherwise has one row too many or values below are of
    another kind; in a split, if node 0 occurs again. ``tell`` is called with a line about each header. Raises
    InputError for an ambiguous file.
    """
    if header != "auto":
        is_header = header == "yes"
        return {part: file.opened(is_header) if isinstance(file, TextFile) else file for part, file in files.items()}
    decision = _Decision(files, tell)
    decision.nodes()
    decision.splits()
    decision.edges()
    return decision.opened


class _Decision:
    def __init__(self, files: Mapping[str, TextFile | Rows], tell: Tell) -> None:
        self.files = files
        self.tell = tell
        self.opened: dict[str, TextFile | Rows] = {}
        self.pandas = False  # whether one of the files has a header of numbers
        for part, file in files.items():
            if isinstance(file, Rows):
                self.opened[part] = file
            elif file.first_row == "header of numbers":
                self._open(part, header=True)
            elif file.first_row in ("values", "names"):
                self.opened[part] = file.opened(header=file.first_row == "names")
            elif file.first_row == "text":
                self.opened[part] = file

    def nodes(self) -> None:
        open_files = [part for part in NODES if part in self.files and part not in self.opened]
        if not open_files:
            return
        num_nodes = self._num_nodes()
        counts = {part: self._file(part).count_rows() for part in open_files}
        if num_nodes is None:
            num_nodes = min(counts.values())
            if max(counts.values()) != num_nodes + 1:
                raise self._undecided(open_files[0])
        for part, count in counts.items():
            self._open(part, header=count == num_nodes + 1)

    def splits(self) -> None:
        open_files = [part for part in SPLITS if part in self.files and part not in self.opened]
        first = []  # splits whose first row may be node 0
        for part in open_files:
            file = self._file(part)
            if file.num_columns > 1:
                self._open(part, header=self._num_nodes() == file.count_rows() - 1)
                continue
            values = file.opened(header=False).column(0, "ids")
            if len(values) > 2 and np.isin(values, (0, 1)).all():  # a mask
                self._open(part, header=self._num_nodes() == len(values) - 1)
            elif (values[1:] == 0).any() or self._has_node_0(part):
                self._open(part, header=True)
            else:
                first.append(part)
        if len(first) > 1:  # node 0 can't be in two of them
            for part in first:
                self._open(part, header=True)
        elif first:
            self._open_only(first[0])

    def edges(self) -> None:
        if "edges" not in self.files or "edges" in self.opened:
            return
        file = self._file("edges")
        # A header that is read as an edge does no harm if that edge exists anyway.
        if file.rows[0] not in file.rows[1:] and self.pandas:
            self._open("edges", header=True)
            return
        self._open("edges", header=False)
        others = [other for part, other in self.files.items() if isinstance(other, TextFile) and part != "edges"]
        if file.rows[0] not in file.rows[1:] and not others:
            self.tell(f"{file.path}: the first row, {shown(file)}, is read as an edge; --header yes if it is a header")

    def _open_only(self, part: str) -> None:
        """The only split whose first row may be node 0, if no other file decides it."""
        others = [other for other in SPLITS if other != part and isinstance(self.files.get(other), TextFile)]
        if self.pandas and not others:
            raise self._undecided(part)
        self._open(part, header=False)
        if not others:
            file = self._file(part)
            self.tell(f"{file.path}: the first row, 0, is read as node 0; --header yes if it is a header")

    def _has_node_0(self, part: str) -> bool:
        """Whether another split certainly has node 0."""
        for other in SPLITS:
            file = self.opened.get(other)
            if other != part and isinstance(file, Rows) and file.num_columns == 1 and file.types_found[0] == "integers":
                values = file.column(0, "ids")
                if (values == 0).any() and not np.isin(values, (0, 1)).all():
                    return True
        return False

    def _num_nodes(self) -> int | None:
        """The number of nodes, from a table whose first row is decided; None if there is none."""
        for part in (*NODES, *SPLITS):
            rows, file = self.opened.get(part), self.files.get(part)
            if isinstance(rows, Rows) and (part in NODES or rows.types_found == ("booleans",)):
                if isinstance(file, TextFile):
                    return file.count_rows() - (rows.first_row - 1 - file.comments)
                return rows.num_rows
        return None

    def _open(self, part: str, header: bool) -> None:
        file = self._file(part)
        self.opened[part] = file.opened(header)
        if header:
            self.pandas = True
            self.tell(f"{file.path}: the first row, {shown(file)}, is a header")

    def _file(self, part: str) -> TextFile:
        file = self.files[part]
        assert isinstance(file, TextFile)
        return file

    def _undecided(self, part: str) -> InputError:
        file = self._file(part)
        return InputError(
            f"{file.path} row {file.comments + 1}: {shown(file)} may be a row, or the header that pandas writes of "
            "columns without names; allowed: --header yes or --header no, which says so"
        )


def shown(file: TextFile) -> str:
    """The first row, for a message."""
    first = file.rows[0]
    return ", ".join(first if len(first) < 5 else (*first[:2], "...", first[-1]))
