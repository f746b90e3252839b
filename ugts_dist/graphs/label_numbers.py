"""Several labels or targets for each node of a graph that is prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.graphs.tables import Block, Table, limited, silent

Integers = NDArray[np.int64]

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Several labels or targets for each node.

    Attributes:
        name: of the file.
        y: [num_nodes, columns] float32; NaN: unknown.
        place: says where a node's row is, for a message.
    """

    name: str
    y: NDArray[np.float32]
    place: Callable[[int], str]

    @property
    def num_nodes(self) -> int:
        return len(self.y)

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()

    def numbered(self, tell: Callable[[str], None]) -> Numbers:
        """The same: they have no classes."""
        return self

    def labelled(self) -> Integers:
        return np.flatnonzero(~np.isnan(self.y).all(axis=1))

    def checked(self, splits: Mapping[str, Integers]) -> int:
        is_labelled = np.zeros(self.num_nodes, dtype=np.bool_)
        is_labelled[self.labelled()] = True
        if not is_labelled.any():
            raise InputError(f"{self.name}: has no number; allowed: at least one, or no labels")
        for split, nodes in splits.items():
            unknown = nodes[~is_labelled[nodes]]
            if len(unknown):
                found = f"no number, but its node is in {split}"
                raise InputError(f"{self.place(int(unknown[0]))}: {found}; allowed: at least one, or another split")
        return self.y.shape[1]

    def write(self, store: StoreWriter) -> None:
        store.write("y", _FLOAT32, [self.y], self.y.shape[1:])


def read_numbers(
    table: Table, expected: int | None = None, nodes: Integers | None = None, num_nodes: int = 0
) -> Numbers:
    """The numbers of each node, from a table that is read once.

    Args:
        table: with a row for each node, or for each of `nodes`; NaN is unknown.
        expected: its number of rows, if known; far more are refused.
        nodes: the node of each row; None if the rows are in the order of the nodes.
        num_nodes: number of nodes, with `nodes`.

    Raises InputError that names the row of an infinite number.
    """
    blocks = _finite(table, limited(table.name, table.read(silent), expected))
    y = _in_order(table, blocks) if nodes is None else _at_nodes(table, blocks, nodes, num_nodes)
    return Numbers(table.name, y, lambda node: _place(table, nodes, node))


def notes(numbers: Numbers, is_wanted: bool) -> Iterator[str]:
    """A line about columns without a number, and one about numbers that may be classes unless they are wanted."""
    known = ~np.isnan(numbers.y)
    empty = np.flatnonzero(~known.any(axis=0)) + 1
    if 0 < len(empty) < numbers.y.shape[1]:
        shown = ", ".join(map(str, empty[:4])) + (", ..." if len(empty) > 4 else "")
        yield f"{numbers.name}: no node has a number of label {shown}"
    if not is_wanted and numbers.y.shape[1] == 1 and (numbers.y[known] % 1 == 0).all():
        yield f"{numbers.name}: whole numbers with a point are read as targets; write classes as integers or words"


def _finite(table: Table, blocks: Iterable[Block]) -> Iterator[NDArray[np.float32]]:
    done = 0
    for values in blocks:
        with np.errstate(over="ignore"):
            block = values.astype(np.float32)
        infinite = np.isinf(block)
        if infinite.any():
            row, column = np.argwhere(infinite)[0]
            found = f"{values[row, column]} as label {column + 1}"
            raise InputError(f"{table.at(done + int(row))}: {found}; allowed: finite numbers, or nothing if unknown")
        done += len(block)
        yield block


def _in_order(table: Table, blocks: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """All blocks. Each is freed when it is copied, so that memory holds them once."""
    waiting = list(blocks)
    last = sum(map(len, waiting))
    y = np.empty((last, table.num_columns), dtype=np.float32)
    while waiting:
        block = waiting.pop()
        y[last - len(block) : last] = block
        last -= len(block)
    return y


def _at_nodes(
    table: Table, blocks: Iterator[NDArray[np.float32]], nodes: Integers, num_nodes: int
) -> NDArray[np.float32]:
    y, done = np.full((num_nodes, table.num_columns), np.nan, dtype=np.float32), 0
    for block in blocks:
        places = nodes[done : done + len(block)]
        done += len(block)
        if done > len(nodes):
            break
        y[places] = block
    if done != len(nodes):
        found = f"more than {len(nodes)}" if done > len(nodes) else done
        raise InputError(f"{table.name}: has {found} rows; allowed: {len(nodes)}, as the file with the ids has")
    return y


def _place(table: Table, nodes: Integers | None, node: int) -> str:
    """The row of a node, for a message."""
    rows = np.array([node]) if nodes is None else np.flatnonzero(nodes == node)
    return table.at(int(rows[0])) if len(rows) else f"{table.name}: has no row of node {node}, so"
