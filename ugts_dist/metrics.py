"""The metrics by name: their titles, the kinds of tasks they fit, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["classification", "multilabel", "regression", "link"]


@dataclass(frozen=True)
class Metric:
    """Attributes:
    title: how it is shown.
    kinds: the kinds of tasks that it fits.
    higher_is_better: whether the best epoch has the highest value; otherwise the lowest.
    needs_scores: whether it needs each item's logits; otherwise only the predicted class.
    is_fraction: whether it can be shown in percent; otherwise it has the units of the targets.
    """

    title: str
    kinds: tuple[Kind, ...]
    higher_is_better: bool = True
    needs_scores: bool = True
    is_fraction: bool = True

    def is_better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than


_LABELS: tuple[Kind, ...] = ("classification", "multilabel")

METRICS = {
    "accuracy": Metric("accuracy", ("classification",), needs_scores=False),
    "balanced-accuracy": Metric("balanced accuracy", ("classification",), needs_scores=False),
    "f1-micro": Metric("micro F1", _LABELS, needs_scores=False),
    "f1-macro": Metric("macro F1", _LABELS, needs_scores=False),
    "roc-auc": Metric("ROC-AUC", (*_LABELS, "link")),
    "average-precision": Metric("average precision", (*_LABELS, "link")),
    "rmse": Metric("RMSE", ("regression",), higher_is_better=False, is_fraction=False),
    "mae": Metric("MAE", ("regression",), higher_is_better=False, is_fraction=False),
    "r2": Metric("R2", ("regression",)),
    "hits@10": Metric("Hits@10", ("link",)),
    "hits@50": Metric("Hits@50", ("link",)),
    "hits@100": Metric("Hits@100", ("link",)),
    "mrr": Metric("MRR", ("link",)),
}

DEFAULTS: dict[Kind, str] = {
    "classification": "accuracy",
    "multilabel": "roc-auc",
    "regression": "rmse",
    "link": "roc-auc",
}


def title_of(metric: str, kind: str) -> str:
    """The title of a configured metric, "auto" being that of the kind of task; empty if the kind is "auto", too."""
    name = DEFAULTS.get(cast(Kind, kind), "") if metric == "auto" else metric
    return METRICS[name].title if name else ""


def by_title(title: str) -> Metric:
    """The metric that a result names. Unknown titles, of other versions, count as fractions; higher is better."""
    return next((metric for metric in METRICS.values() if metric.title == title), Metric(title, ()))
