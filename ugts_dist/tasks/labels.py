"""What the labels of a dataset say: the kind of task, its metric and its loss, for nodes as for whole graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ugts_dist.config_task import TaskConfig
from ugts_dist.errors import InputError
from ugts_dist.evaluation.scores import is_measurable
from ugts_dist.graphs.label_words import are_binary
from ugts_dist.graphs.targets import Scale
from ugts_dist.metrics import DEFAULTS, METRICS, Kind, Metric
from ugts_dist.tasks.losses import BinaryCrossEntropy, CrossEntropy, Loss, TargetLoss


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Attributes:
    kind: classification, multilabel or regression.
    metric_name: of `METRICS`.
    loss: of a batch.
    scale: of the targets of a regression.
    """

    kind: Kind
    metric_name: str
    loss: Loss
    scale: Scale | None = None

    @property
    def metric(self) -> Metric:
        return METRICS[self.metric_name]

    def check(self, name: str, splits: Mapping[str, Tensor]) -> None:
        """Raise InputError, with the name of the data, if the labels of a split do not allow the metric."""
        for split, y in splits.items():
            if not is_measurable(self.metric_name, y.numpy()):
                chosen = f"task.metric is {self.metric_name}, but {split} of {name} has labels of one kind only"
                raise InputError(f"{chosen}; allowed are another metric and another split")

    def to_json(self) -> dict[str, Any]:
        """What a saved network must know to predict: the kind, and the scale of targets."""
        return {"kind": self.kind} | ({} if self.scale is None else self.scale.to_json())

    def decode(self, logits: Tensor) -> Tensor:
        """What is predicted: targets in their own units; otherwise the logits."""
        return logits if self.scale is None else self.scale.restored(logits)


def label_task(
    options: TaskConfig,
    name: str,
    y: Tensor,
    num_outputs: int,
    device: torch.device | None = None,
    scale: Scale | None = None,
) -> LabelTask:
    """The task of the training labels `y`, classes `[n]` or numbers `[n, num_outputs]`, of the dataset `name`.

    The constants of its loss are on the device. `scale` is that of targets, by default of these labels.

    Raises InputError for options that do not fit these labels.
    """
    kind = _kind(options, name, y)
    options.require_metric_fits(kind)
    if options.class_weight != "none" and kind != "classification":
        raise InputError(f"task.class_weight is {options.class_weight}, allowed is none, as {name} has no classes")
    metric = DEFAULTS[kind] if options.metric == "auto" else options.metric
    if kind == "classification":
        balanced = options.class_weight == "balanced"
        return LabelTask(kind, metric, CrossEntropy.balanced(y, num_outputs, device) if balanced else CrossEntropy())
    if kind == "multilabel":
        return LabelTask(kind, metric, BinaryCrossEntropy())
    scale = scale or Scale.of(y)
    return LabelTask(kind, metric, TargetLoss(options.loss, scale.to(device)), scale)


def _kind(options: TaskConfig, name: str, y: Tensor) -> Kind:
    """The configured kind, if the labels allow it; by default as the labels are."""
    if not y.is_floating_point():
        if options.kind not in ("auto", "classification"):
            raise InputError(f"task.kind is {options.kind}, allowed is classification, as {name} has one class a node")
        return "classification"
    is_binary = are_binary(y)
    if options.kind == "auto":
        return "multilabel" if is_binary else "regression"
    if options.kind == "classification":
        raise InputError(f"task.kind is classification, allowed are multilabel and regression, as {name} has numbers")
    if options.kind == "multilabel" and not is_binary:
        raise InputError(f"task.kind is multilabel, allowed is regression, as {name} has labels other than 0 and 1")
    assert options.kind != "link"
    return options.kind
