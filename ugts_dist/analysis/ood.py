"""Out-of-distribution detection: whether a network is less confident on classes that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ugts_dist.analysis.subject import Subject, open_subject, outputs_of
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError


@dataclass(frozen=True, eq=False)
class Detection:
    """The confidence on test nodes: the largest probability of each (Hendrycks and Gimpel 2017).

    Attributes:
        classes: the left-out classes, by their numbers in the whole graph.
        known: confidence on test nodes of known classes, float64 `[num_known]`.
        unknown: confidence on test nodes of left-out classes, float64 `[num_unknown]`.
    """

    classes: list[int]
    known: Tensor
    unknown: Tensor

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve, left-out classes positive, score -max softmax; 0.5 is chance."""
        return roc_auc(-self.known, -self.unknown)


def roc_auc(negative: Tensor, positive: Tensor) -> float:
    """Probability that a positive has a larger score than a negative; ties count half."""
    from sklearn.metrics import roc_auc_score  # imports in a second

    truth = torch.cat([torch.zeros(negative.numel()), torch.ones(positive.numel())])
    return float(roc_auc_score(truth.numpy(), torch.cat([negative, positive]).numpy()))


def confidence(logits: Tensor) -> Tensor:
    """The largest probability: `[rows, num_classes]` -> float64 `[rows, 1]`."""
    return logits.double().softmax(1).amax(1, keepdim=True)


def detect(subject: Subject) -> Detection:
    """The confidence on test nodes of known and of left-out classes. Collective.

    Raises InputError for a run without left-out classes, and if no test node is of them.
    """
    if subject.unknown is None:
        raise InputError(f"{subject.path}: of a run without left-out classes; train one with --data.left-out 0.4")
    if not subject.unknown.test.numel():
        raise InputError(f"{subject.path}: no test node is of the left-out classes; train with another --run.seed")
    nodes = torch.cat([subject.graph.test, subject.unknown.test]).sort().values
    sure = outputs_of(nodes, subject, of_rows=confidence)[:, 0]
    is_unknown = torch.isin(nodes, subject.unknown.test)
    return Detection(subject.unknown.classes.tolist(), sure[~is_unknown], sure[is_unknown])


def roc_auc_of(path: Path, ranks: Ranks) -> float:
    """ROC-AUC of a ticket, dense network or run folder with left-out classes. Raises InputError."""
    return detect(open_subject(path, ranks)).roc_auc
