"""Metrics of link prediction: scikit-learn's, and hits@K and MRR as OGB's Evaluator has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.evaluation import scores

_HITS = "hits@"


def num_hits(metric: str) -> int:
    """The K of hits@K; 0 for another metric."""
    return int(metric.removeprefix(_HITS)) if metric.startswith(_HITS) else 0


def measured(metric: str, positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """A metric of `METRICS` other than MRR.

    Args:
        positive: logits of the pairs with an edge, `[num_positives]`.
        negative: logits of those without, `[num_negatives]`; K or more for hits@K.
    """
    if k := num_hits(metric):
        return float((positive > np.partition(negative, -k)[-k]).mean())
    y = np.concatenate([np.ones(len(positive), np.float32), np.zeros(len(negative), np.float32)])
    return scores.measured(metric, y[:, None], np.concatenate([positive, negative])[:, None])


def reciprocal_ranks(positive: Tensor, negative: Tensor) -> Tensor:
    """One over the rank of each positive among its own negatives, `[num_positives]`. Equal logits share their ranks.

    Args:
        positive: logits `[num_positives]`.
        negative: logits `[num_positives, num_negatives]`.
    """
    above = (negative > positive[:, None]).sum(1)
    above_or_equal = (negative >= positive[:, None]).sum(1)
    return 1.0 / (0.5 * (above + above_or_equal) + 1.0)
