"""Calibration of a network: expected calibration error and reliability table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.analysis.subject import Subject, outputs_of


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence is above `low` and at most `high`.

    Attributes:
        count: number of predictions.
        confidence: their mean confidence; NaN if there are none.
        accuracy: the fraction of them that is correct; NaN if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Tensor, correct: Tensor, bins: int = 15) -> list[Bin]:
    """Bins of equal width, ascending, from confidences in (0, 1] and whether predictions are correct, both `[n]`.

    The confidence of a prediction is its largest probability.
    """
    confidence = confidence.double()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sure = torch.bincount(place, confidence, minlength=bins) / counts
    right = torch.bincount(place, correct.double(), minlength=bins) / counts
    return [Bin(k / bins, (k + 1) / bins, int(counts[k]), float(sure[k]), float(right[k])) for k in range(bins)]


def error(table: list[Bin]) -> float:
    """Expected calibration error of a reliability table (Guo et al. 2017, Eq. 3), from 0 to 1.

    The mean of |accuracy - confidence| over the predictions, each with the values of its bin.
    """
    filled = [row for row in table if row.count]
    return sum(row.count * abs(row.accuracy - row.confidence) for row in filled) / sum(row.count for row in filled)


def calibration(subject: Subject, bins: int = 15) -> list[Bin]:
    """The reliability table of the predictions for all test nodes. Collective."""
    predictions = outputs_of(subject.graph.test, subject, of_rows=_sure_and_predicted)
    return reliability(predictions[:, 0], predictions[:, 1].long() == subject.graph.y[subject.graph.test], bins)


def _sure_and_predicted(logits: Tensor) -> Tensor:
    """Largest probability, and its class: float64 `[rows, 2]`."""
    confidence, predicted = logits.double().softmax(1).max(1)
    return torch.stack([confidence, predicted.double()], dim=1)
