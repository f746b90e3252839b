"""Exact evaluation of link prediction: embeddings of all nodes, then the logits of the held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import link_scores
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.node_tables import pieces
from ugts_dist.finite import zero_if_finite
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.link_split import HeldOut, LinkSplit, corrupted
from ugts_dist.models import GNN

MRR_NEGATIVES = 100  # for each positive
_PAIRS_AT_ONCE = 1 << 16

MakeEvaluator = Callable[[Graph, str], Evaluator]


@dataclass(frozen=True, eq=False)
class _Part:
    """This rank's share of the pairs of one split.

    Attributes:
        held_out: the pairs of all ranks.
        evaluator: of the graph with their message edges.
        pairs: those of this rank, `[2, num_pairs]`.
        start: number of the first of them.
        num_values: numbers that all ranks contribute together.
    """

    held_out: HeldOut
    evaluator: Evaluator
    pairs: Tensor
    start: int
    num_values: int


class LinkEvaluator:
    """A metric on the held-out pairs. Each is counted exactly once for any world size. Collective.

    Args:
        name: of the graph, for messages.
        number: of the split.
        device: where to compute.
        metric: a name of `METRICS`.
        make_evaluator: makes the evaluator of a graph with the message edges of a split, `valid` or `test`.

    Raises InputError, on every rank, if MRR has no negatives for a node.
    """

    def __init__(
        self,
        name: str,
        split: LinkSplit,
        number: int,
        ranks: Ranks,
        device: torch.device,
        metric: str,
        make_evaluator: MakeEvaluator,
    ) -> None:
        self._name, self._ranks, self._device, self._metric = name, ranks, device, metric
        self._edges, self._number = split.edges, number
        self._parts: Mapping[str, _Part] = {
            part: self._part(held_out, make_evaluator(held_out.graph, part))
            for part, held_out in (("valid", split.valid), ("test", split.test))
        }

    def measure(self, model: GNN, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, and the sum of `loss` over ranks; one reduction and one wait for both.

        If an embedding is not finite, the sum is NaN and so is the metric.
        """
        loss = loss.detach().to(self._device)
        values = []
        for part in self._parts.values():
            table = part.evaluator.embeddings(model)
            own = table[slice(*self._ranks.share(len(table)))]
            loss = loss + zero_if_finite([own], self._device)
            values.append(self._values(part, table))
        total = self._ranks.all_reduce_sum(torch.cat([*values, loss.double().reshape(1)])).cpu()
        if not bool(total.isfinite().all()):
            return dict.fromkeys(self._parts, math.nan), math.nan
        *of_parts, loss_of_all = total.split([*(part.num_values for part in self._parts.values()), 1])
        measured = {
            name: self._measured(part, values)
            for (name, part), values in zip(self._parts.items(), of_parts, strict=True)
        }
        return measured, float(loss_of_all)

    def _part(self, held_out: HeldOut, evaluator: Evaluator) -> _Part:
        positives, negatives = held_out.positives, held_out.negatives
        pairs = positives if self._metric == "mrr" else torch.cat([positives, negatives], 1)
        start, stop = self._ranks.share(pairs.shape[1])
        own = pairs[:, start:stop]
        if self._metric == "mrr":
            others = self._ranks.raise_together(lambda: self._others(own, start))
            destinations = torch.cat([own[1][:, None], others], 1)
            own = torch.stack([own[0][:, None].expand_as(destinations), destinations]).flatten(1)
        return _Part(held_out, evaluator, own.to(self._device), start, pairs.shape[1])

    def _others(self, pairs: Tensor, first: int) -> Tensor:
        return corrupted(self._name, self._edges, pairs, MRR_NEGATIVES, first, self._number)

    @torch.no_grad()
    def _values(self, part: _Part, table: Tensor) -> Tensor:
        """Logits, or reciprocal ranks, of this rank's pairs in their places, zeros elsewhere: float64."""
        own = pair_logits(table, part.pairs)
        if self._metric == "mrr":
            of_pairs = own.view(-1, 1 + MRR_NEGATIVES)
            own = link_scores.reciprocal_ranks(of_pairs[:, 0], of_pairs[:, 1:])
        values = torch.zeros(part.num_values, dtype=torch.float64, device=self._device)
        values[part.start : part.start + own.numel()] = own.double()
        return values

    def _measured(self, part: _Part, values: Tensor) -> float:
        if self._metric == "mrr":
            return float(values.mean())
        count = part.held_out.positives.shape[1]
        return link_scores.measured(self._metric, values[:count].numpy(), values[count:].numpy())


def pair_logits(table: Tensor, pairs: Tensor) -> Tensor:
    """The dot product of the embeddings of both ends of each pair, `[num_pairs]`.

    Args:
        table: embeddings `[num_nodes, width]`.
        pairs: node ids `[2, num_pairs]`, on the same device.
    """
    logits = torch.empty(pairs.shape[1], device=table.device)
    for start, stop in pieces(0, pairs.shape[1], _PAIRS_AT_ONCE):
        source, destination = pairs[:, start:stop]
        logits[start:stop] = (table[source] * table[destination]).sum(1)
    return logits
