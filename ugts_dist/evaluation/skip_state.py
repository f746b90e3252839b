"""What a network with connections carries past its layers, for a rank's own nodes, while all nodes are evaluated."""

from __future__ import annotations

from torch import Tensor

from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.models import Features
from ugts_dist.models.remedies import Connections


class Carried:
    """The rows that a rank carries; a row is read and written with the layer's output of its node alone.

    So no rank has to see those of another. Making one is collective.
    """

    def __init__(self, connections: Connections, tables: NodeTables) -> None:
        self._connections, self._rule = connections, connections.rule()
        self._table = tables.own(connections.carried_width)

    def start(self, rows: slice, x: Features) -> Tensor:
        """The first hidden layer `[num_rows, width]` from the features of some of the rank's nodes."""
        hidden = self._connections.enter(x)
        self._table[rows] = self._rule.start(hidden)
        return hidden

    def after(self, k: int, rows: slice, hidden: Tensor) -> Tensor:
        """The input of the next convolution from the output of convolution `k`, of the same shape."""
        hidden, self._table[rows] = self._rule.after(k, hidden, self._table[rows])
        return hidden

    def logits(self, rows: slice, hidden: Tensor) -> Tensor:
        """From the last hidden layer: `[num_rows, num_classes]`."""
        return self._connections.leave(hidden, self._table[rows])
