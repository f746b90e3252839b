"""Each metric against OGB's Evaluator, scikit-learn on whole tables, or its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ogb.graphproppred import Evaluator as GraphEvaluator
from sklearn import metrics as sk

from ugts_dist.evaluation.scores import is_measurable, measured
from ugts_dist.metrics import DEFAULTS, METRICS


def labels_with_gaps(seed: int, rows: int = 60, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, (rows, columns)).astype(np.float32)
    y[generator.random(y.shape) < 0.2] = np.nan
    return y, generator.normal(size=y.shape)


@given(seed=st.integers(0, 1000))
def test_roc_auc_of_several_labels_is_that_of_ogb(seed: int) -> None:
    y, predicted = labels_with_gaps(seed)
    expected = GraphEvaluator("ogbg-moltox21").eval({"y_true": np.tile(y, 4), "y_pred": np.tile(predicted, 4)})
    assert measured("roc-auc", y, predicted) == pytest.approx(expected["rocauc"], abs=1e-12)


@given(seed=st.integers(0, 1000))
def test_average_precision_of_several_labels_is_that_of_ogb(seed: int) -> None:
    y, predicted = labels_with_gaps(seed)
    wide = {"y_true": np.tile(y, (1, 43))[:, :128], "y_pred": np.tile(predicted, (1, 43))[:, :128]}
    y, predicted = wide["y_true"], wide["y_pred"]
    expected = GraphEvaluator("ogbg-molpcba").eval(wide)["ap"]
    assert measured("average-precision", y, predicted) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 1000))
def test_rmse_is_that_of_ogb(seed: int) -> None:
    generator = np.random.default_rng(seed)
    y, predicted = generator.normal(size=(40, 1)).astype(np.float32), generator.normal(size=(40, 1))
    expected = GraphEvaluator("ogbg-molesol").eval({"y_true": y, "y_pred": predicted})["rmse"]
    assert measured("rmse", y, predicted) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "function"), [("mae", sk.mean_absolute_error), ("r2", sk.r2_score), ("rmse", sk.root_mean_squared_error)]
)
def test_metrics_of_targets_are_means_over_the_columns(name: str, function: object) -> None:
    generator = np.random.default_rng(0)
    y, predicted = generator.normal(size=(40, 3)).astype(np.float32), generator.normal(size=(40, 3))
    assert measured(name, y, predicted) == pytest.approx(function(y, predicted), abs=1e-12)  # type: ignore[operator]


def test_unknown_targets_count_nothing() -> None:
    y = np.array([[1.0], [np.nan], [3.0]], np.float32)
    assert measured("mae", y, np.array([[2.0], [100.0], [3.0]])) == 0.5
    assert math.isnan(measured("mae", np.full((2, 1), np.nan, np.float32), np.zeros((2, 1))))


@given(seed=st.integers(0, 1000), num_classes=st.integers(2, 5))
def test_metrics_of_classes_are_those_of_scikit_learn(seed: int, num_classes: int) -> None:
    generator = np.random.default_rng(seed)
    y = np.concatenate([np.arange(num_classes), generator.integers(0, num_classes, 40)])
    logits = generator.normal(size=(y.size, num_classes))
    classes, one_hot = logits.argmax(1).astype(np.float64), np.eye(num_classes)[y]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert measured("accuracy", y, classes) == sk.accuracy_score(y, classes)
    assert measured("balanced-accuracy", y, classes) == pytest.approx(sk.balanced_accuracy_score(y, classes))
    for average in ("micro", "macro"):
        assert measured(f"f1-{average}", y, classes) == sk.f1_score(y, classes, average=average)
    if num_classes == 2:
        assert measured("roc-auc", y, logits) == pytest.approx(sk.roc_auc_score(y, probabilities[:, 1]))
        expected = sk.average_precision_score(y, probabilities[:, 1])
    else:
        auc = sk.roc_auc_score(y, probabilities, multi_class="ovr", average="macro")
        assert measured("roc-auc", y, logits) == pytest.approx(auc)
        expected = sk.average_precision_score(one_hot, probabilities, average="macro")
    assert measured("average-precision", y, logits) == pytest.approx(expected)


def test_f1_of_several_labels_is_that_of_scikit_learn() -> None:
    y, predicted = labels_with_gaps(0)
    y = np.nan_to_num(y)
    for average in ("micro", "macro"):
        expected = sk.f1_score(y > 0.5, predicted > 0, average=average)
        assert measured(f"f1-{average}", y, predicted) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["roc-auc", "average-precision", "f1-macro", "r2", "mae"])
@pytest.mark.parametrize(
    "y",
    [
        [[0.0, 1.0], [0.0, np.nan]],
        [[0.0, 1.0], [0.0, 0.0]],
        [[np.nan, np.nan], [np.nan, np.nan]],
        [[np.nan, 1.0], [np.nan, np.nan]],
    ],
)
def test_a_metric_is_a_number_if_it_is_measurable(metric: str, y: list[list[float]]) -> None:
    labels = np.array(y, np.float32)
    assert is_measurable(metric, labels) == (not math.isnan(measured(metric, labels, np.zeros((2, 2)))))


def test_one_class_allows_no_ranking() -> None:
    y = np.array([1, 1])
    assert is_measurable("accuracy", y)
    assert not is_measurable("roc-auc", y)
    assert is_measurable("roc-auc", np.array([1, 2]))


def test_every_kind_has_a_default_that_fits_it() -> None:
    for kind, name in DEFAULTS.items():
        assert kind in METRICS[name].kinds
