"""What a network of link prediction predicts: embeddings of nodes, or the probability of pairs in a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.links import pair_logits
from ugts_dist.evaluation.node_tables import pieces
from ugts_dist.graphs.csv_files import TextFile
from ugts_dist.graphs.id_columns import kind_of
from ugts_dist.graphs.node_ids import NodeIds
from ugts_dist.graphs.row_files import open_file
from ugts_dist.graphs.stored_ids import StoredIds
from ugts_dist.graphs.tables import Rows

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of a file, in its order.

    Attributes:
        ids: of the nodes.
        numbers: of both nodes of each pair, int64 `[2, num_pairs]`.
    """

    ids: NodeIds
    numbers: Tensor

    @classmethod
    def read(cls, path: Path, graph: str, num_nodes: int, stored: StoredIds | None) -> Pairs:
        """Read a file with two columns of node ids. Raises InputError, which names the row of an unknown id.

        Args:
            graph: its name, for messages.
            stored: the ids of its nodes; None if these are their numbers.
        """
        ids = _node_ids(graph, num_nodes, stored)
        rows = _rows(path, ids)
        if rows.num_columns != 2:
            raise InputError(f"--pairs is {path}, which has {rows.num_columns} columns; allowed: 2 of node ids")
        if ids.kind == "integers" and "text" in (kind_of(rows, 0), kind_of(rows, 1)):
            raise InputError(f"--pairs is {path}, which has words; allowed: ids of {graph}, which are whole numbers")
        numbers = np.stack([ids.numbers_in(rows, column) for column in (0, 1)])
        if not numbers.size:
            raise InputError(f"--pairs is {path}, which has no pairs; allowed: one or more")
        return cls(ids, torch.from_numpy(numbers))

    def logits(self, embeddings: Tensor, ranks: Ranks) -> Iterator[Tensor]:
        """Logits of this rank's share of the pairs, chunk by chunk, `[rows, 1]`."""
        for start, stop in pieces(*ranks.share(self.numbers.shape[1]), _ROWS_AT_ONCE):
            yield pair_logits(embeddings, self.numbers[:, start:stop].to(embeddings.device))[:, None]

    def table(self, first: int, logits: Tensor) -> pa.Table:
        """Rows of pairs from number `first` on: their nodes, and the probability of an edge."""
        source, destination = self.numbers[:, first : first + len(logits)]
        probability = pa.array(logits[:, 0].sigmoid().numpy())
        return pa.table(
            {"source": self._called(source), "destination": self._called(destination), "probability": probability}
        )

    def _called(self, nodes: Tensor) -> pa.Array:
        numbers = pa.array(nodes.numpy())
        return numbers if self.ids.values is None else self.ids.values.take(numbers)


def _node_ids(graph: str, num_nodes: int, stored: StoredIds | None) -> NodeIds:
    if stored is None:
        return NodeIds(graph, "integers", None, num_nodes)
    values = stored.slice(0, num_nodes)
    if stored.text is None:
        return NodeIds(graph, "integers", values, num_nodes)
    return NodeIds(graph, "text", values.cast(pa.large_string()), num_nodes)


def _rows(path: Path, ids: NodeIds) -> Rows:
    """The rows of a file. The first row of a text file is a header if it looks like one and has no id."""
    file = open_file(path)
    if not isinstance(file, TextFile):
        return file
    words = pa.array(file.rows[0], pa.large_string())
    has_id = ids.kind == "text" and pc.any(pc.is_in(words, value_set=ids.values)).as_py()
    is_header = not has_id and file.first_row not in ("values", "numbers")
    if is_header and file.first_row == "text":  # it might be a row of which no node is known
        _log.warning(f"note: {path}: the first row, {', '.join(file.rows[0])}, is taken for a header")
    return file.opened(header=is_header)
