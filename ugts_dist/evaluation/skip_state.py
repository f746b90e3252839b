"""The state of skip connections during an evaluation of all nodes, for a rank's own nodes."""

from __future__ import annotations

from torch import Tensor

from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.models import Features
from ugts_dist.models.remedies import Connections


class SkipState:
    """The state's rows for this rank. Each row is read and written with the layer output of its own node only.

    So no rank needs another rank's rows. The constructor is collective.
    """

    def __init__(self, connections: Connections, tables: NodeTables) -> None:
        self._connections, self._rule = connections, connections.rule()
        self._table = tables.own(connections.state_width)

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
        """Logits `[num_rows, num_classes]` from the last hidden layer."""
        return self._connections.leave(hidden, self._table[rows])
