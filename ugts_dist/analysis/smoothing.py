"""Over-smoothing: the similarity of the nodes' representations, by the mean average distance of Chen et al. 2020."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.models import GNN

_ROWS = 1 << 13  # converted to float64 at once
LOGITS = "logits"


def mad(x: Tensor) -> float:
    """Mean cosine distance, 1 - cosine, over all pairs of different rows of `[num_nodes, width]`; from 0 to 2.

    (Chen et al. 2020, "Measuring and Relieving the Over-smoothing Problem for Graph Neural Networks", Eqs. 1 to 4,
    with all nodes as targets. They exclude distances of exactly 0 from the mean. Here these count; otherwise a network
    whose nodes are all equal would seem less smooth.) Rows of zeros have no direction: their distance is 1 to all
    other rows and 0 to each other, so that a network whose units are all dead has a MAD of 0.

    Exact for any number of rows in one pass: the cosines of all pairs add up to the squared length of the sum of the
    directions. NaN for fewer than two rows.
    """
    return _Directions().add(x).distance()


def mad_of_layers(evaluator: Evaluator, model: GNN, ranks: Ranks) -> dict[str, float]:
    """MAD of each layer's outputs after its activation, over all nodes: "1", "2", ..., and the logits. Collective."""
    layers: dict[str, _Directions] = {}

    def on_layer(number: int, rows: Tensor) -> None:
        layers.setdefault(str(number + 1), _Directions()).add(rows)

    logits = _Directions()
    for rows in evaluator.outputs(model, on_layer):
        logits.add(rows)
    layers[LOGITS] = logits
    return {name: directions.of_all(ranks).distance() for name, directions in layers.items()}


class _Directions:
    """The sum of the directions of rows, and their number; nothing else is needed.

    Attributes:
        sums: the sum of all directions, the number of rows with a direction, the number of those without: float64
            `[width + 2]`.
    """

    sums: Tensor

    def add(self, x: Tensor) -> _Directions:
        """Add rows `[any number, width]`."""
        if not hasattr(self, "sums"):
            self.sums = torch.zeros(x.shape[1] + 2, dtype=torch.float64, device=x.device)
        for rows in x.detach().split(_ROWS):
            rows = rows.double()
            length = rows.norm(dim=1, keepdim=True)
            self.sums[:-2] += (rows / torch.where(length == 0, 1.0, length)).sum(0)
            self.sums[-2] += (length != 0).sum()
            self.sums[-1] += (length == 0).sum()
        return self

    def of_all(self, ranks: Ranks) -> _Directions:
        """The sum over the rows of all ranks. Collective."""
        self.sums = ranks.all_reduce_sum(self.sums.to(ranks.device))
        return self

    def distance(self) -> float:
        """The mean over all pairs."""
        directed, zeros = self.sums[-2:].tolist()
        cosines = float(self.sums[:-2].square().sum()) - directed  # over ordered pairs of different rows
        distances = directed * (directed - 1.0) - cosines + 2.0 * directed * zeros
        pairs = (directed + zeros) * (directed + zeros - 1.0)
        if not pairs or math.isnan(distances):
            return math.nan
        return max(0.0, distances / pairs)  # rounding can make the distance of equal rows slightly negative
