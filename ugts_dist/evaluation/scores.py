"""A metric of predictions: scikit-learn's functions, column by column, over the known labels only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64] | NDArray[np.float32]
Column = Callable[[Floats, Floats], float]

_OGB_NAMES = ("ogbn-arxiv", "ogbn-products")


def measured(metric: str, y: Labels, predicted: Floats) -> float:
    """The metric `metric` of `METRICS`.

    Args:
        y: classes `[n]`, or labels or targets `[n, columns]`, NaN if unknown.
        predicted: logits `[n, classes]`, predicted classes `[n]`, or logits or values `[n, columns]`.

    With several columns the mean over them is taken, as OGB's Evaluator does. Columns without known labels, and for
    ROC-AUC and average precision those with labels of one kind only, are left out. NaN if none is left.
    """
    if y.ndim == 1:
        return _of_classes(metric, y.astype(np.int64), predicted)
    if metric == "f1-micro":
        known = ~np.isnan(y)
        return _f1(y[known] > 0.5, predicted[known] > 0)
    column = _COLUMNS[metric]
    values = [column(*_known(y[:, k], predicted[:, k])) for k in range(y.shape[1])]
    values = [value for value in values if not math.isnan(value)]
    return float(np.mean(values)) if values else math.nan


def ogb_evaluator(name: str) -> Any:
    """OGB's own Evaluator of a dataset; None if OGB has none for its nodes."""
    if name not in _OGB_NAMES:
        return None
    from ogb.nodeproppred import Evaluator  # imports pandas and scikit-learn: seconds and memory

    return Evaluator(name)


def is_measurable(metric: str, y: Labels) -> bool:
    """Whether these labels allow the metric: ROC-AUC and average precision need both kinds of some column."""
    if y.ndim == 1:
        return metric not in ("roc-auc", "average-precision") or np.unique(y).size > 1
    known = ~np.isnan(y)
    if metric == "r2":
        return bool((known.sum(0) > 1).any())
    return (
        any(_has_both(column[~np.isnan(column)]) for column in y.T)
        if metric in ("roc-auc", "average-precision")
        else bool(known.any())
    )


def _of_classes(metric: str, y: NDArray[np.int64], predicted: Floats) -> float:
    from sklearn import metrics

    match metric:
        case "accuracy":
            return float(metrics.accuracy_score(y, predicted))
        case "balanced-accuracy":
            return float(metrics.recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0))
        case "f1-micro" | "f1-macro":
            average = metric.removeprefix("f1-")
            return float(metrics.f1_score(y, predicted, average=average, zero_division=0))
    if predicted.shape[1] == 2:  # one column says it all
        return _COLUMNS[metric](y.astype(np.float64), predicted[:, 1] - predicted[:, 0])
    # One class against the rest: the probability, since a logit alone does not say how the others are.
    shifted = np.exp(predicted - predicted.max(1, keepdims=True))
    probability = shifted / shifted.sum(1, keepdims=True)
    one_hot = (y[:, None] == np.arange(predicted.shape[1])).astype(np.float32)
    return measured(metric, one_hot, probability)


def _known(y: Labels, predicted: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(y)
    return y[known].astype(np.float64), predicted[known].astype(np.float64)


def _roc_auc(y: Floats, predicted: Floats) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, predicted)) if _has_both(y) else math.nan


def _average_precision(y: Floats, predicted: Floats) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, predicted)) if _has_both(y) else math.nan


def _f1(y: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y, predicted, zero_division=0))


def _f1_of_column(y: Floats, predicted: Floats) -> float:
    return _f1(y > 0.5, predicted > 0) if y.size else math.nan


def _rmse(y: Floats, predicted: Floats) -> float:
    return math.sqrt(float(np.mean((predicted - y) ** 2))) if y.size else math.nan


def _mae(y: Floats, predicted: Floats) -> float:
    return float(np.mean(np.abs(predicted - y))) if y.size else math.nan


def _r2(y: Floats, predicted: Floats) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(y, predicted)) if y.size > 1 else math.nan


def _has_both(y: Floats) -> bool:
    return bool((y == 0).any() and (y == 1).any())


_COLUMNS: dict[str, Column] = {
    "roc-auc": _roc_auc,
    "average-precision": _average_precision,
    "f1-macro": _f1_of_column,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
