"""The kind of a task, and the losses against PyTorch's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ugts_dist.config_task import TaskConfig
from ugts_dist.errors import InputError
from ugts_dist.graphs.targets import Scale
from ugts_dist.tasks.labels import LabelTask, label_task
from ugts_dist.tasks.losses import BinaryCrossEntropy, CrossEntropy, TargetLoss

CLASSES = torch.tensor([0, 2, 2, 2, 1, 0])
LABELS = torch.tensor([[0.0, 1.0], [1.0, math.nan], [0.0, 0.0]])
TARGETS = torch.tensor([[10.0, 1.0], [30.0, math.nan], [20.0, 3.0]])


def task(y: torch.Tensor, **options: Any) -> LabelTask:
    return label_task(TaskConfig(**options), "mine", y, 3 if y.dim() == 1 else y.shape[1])


@pytest.mark.parametrize(
    ("y", "kind", "metric"),
    [(CLASSES, "classification", "accuracy"), (LABELS, "multilabel", "ROC-AUC"), (TARGETS, "regression", "RMSE")],
)
def test_the_labels_say_the_kind(y: torch.Tensor, kind: str, metric: str) -> None:
    chosen = task(y)
    assert (chosen.kind, chosen.metric.title) == (kind, metric)
    assert (chosen.scale is not None) == (kind == "regression")


def test_numbers_0_and_1_can_be_targets() -> None:
    assert task(LABELS, kind="regression").kind == "regression"


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (CLASSES, {"kind": "regression"}, "task.kind is regression, allowed is classification, as mine has one class"),
        (TARGETS, {"kind": "multilabel"}, "allowed is regression, as mine has labels other than 0 and 1"),
        (TARGETS, {"kind": "classification"}, "allowed are multilabel and regression"),
        (CLASSES, {"metric": "rmse"}, "task.metric is rmse, allowed is auto, accuracy, balanced-accuracy"),
        (TARGETS, {"metric": "accuracy"}, "allowed is auto, rmse, mae, r2, as the task is regression"),
        (TARGETS, {"class_weight": "balanced"}, "task.class_weight is balanced, allowed is none, as mine has no"),
        (LABELS, {"kind": "regression", "metric": "roc-auc"}, "task.metric is roc-auc, allowed is auto, rmse"),
        (LABELS, {"kind": "multilabel", "loss": "mae"}, "task.loss is mae, allowed is mse"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_line(y: torch.Tensor, options: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        task(y, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_balanced_weights_are_those_of_scikit_learn_and_average_to_1() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weight = CrossEntropy.balanced(CLASSES, 3).weight
    assert weight is not None
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES.numpy())
    torch.testing.assert_close(weight.double(), torch.from_numpy(expected), rtol=1e-6, atol=0.0)
    assert float(weight[CLASSES].mean()) == pytest.approx(1.0)
    absent = CrossEntropy.balanced(CLASSES, 5).weight
    assert absent is not None
    assert torch.equal(absent[:3], weight)


def test_a_weighted_loss_is_the_weighted_sum() -> None:
    logits = torch.randn(6, 3)
    loss = CrossEntropy.balanced(CLASSES, 3)
    assert loss.weight is not None
    each = F.cross_entropy(logits, CLASSES, reduction="none")
    torch.testing.assert_close(loss(logits, CLASSES), (each * loss.weight[CLASSES]).sum())


def test_unknown_labels_have_no_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    known = ~LABELS.isnan()
    loss = BinaryCrossEntropy()(logits, LABELS)
    torch.testing.assert_close(
        loss, F.binary_cross_entropy_with_logits(logits[known], LABELS[known], reduction="sum") / 2
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient == 0, ~known)


@pytest.mark.parametrize(("kind", "function"), [("mse", F.mse_loss), ("mae", F.l1_loss)])
def test_the_loss_of_targets_is_that_of_standardised_ones(kind: Any, function: Any) -> None:
    logits, known = torch.randn(3, 2), ~TARGETS.isnan()
    scale = Scale.of(TARGETS)
    standardized = torch.tensor([[-1.0, -1.0], [1.0, math.nan], [0.0, 1.0]])
    standardized[:, 0] *= math.sqrt(1.5)
    torch.testing.assert_close(scale.standardized(TARGETS), standardized, equal_nan=True)
    expected = function(logits[known], standardized[known], reduction="sum") / 2
    torch.testing.assert_close(TargetLoss(kind, scale)(logits, TARGETS), expected)
    torch.testing.assert_close(scale.restored(scale.standardized(TARGETS)), TARGETS, equal_nan=True)


def test_a_constant_target_keeps_its_scale() -> None:
    scale = Scale.of(torch.full((4, 1), 1e6))
    assert scale.deviation.tolist() == [1.0]
    assert scale.standardized(torch.full((1, 1), 1e6)).tolist() == [[0.0]]
