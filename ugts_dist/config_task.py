"""The section [task] of a configuration: what is predicted, by which metric and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ugts_dist.config_limits import require
from ugts_dist.metrics import METRICS

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal["auto", *METRICS]


@dataclass(frozen=True)
class TaskConfig:
    """What is predicted for nodes, whole graphs or pairs of nodes."""

    kind: Literal["auto", "classification", "multilabel", "regression", "link"] = "auto"
    """auto: as the labels are. Whole numbers are classes, tables of 0 and 1 several labels at once (multilabel), other
    numbers targets (regression). link: which pairs of nodes have an edge, for which no label is needed."""
    metric: MetricName = "auto"
    """Metric of validation and test. auto: accuracy for classes, ROC-AUC for multilabel and link, RMSE for
    regression."""
    class_weight: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss. balanced: each class counts alike, however rare: inversely proportional to
    its number of training nodes."""
    loss: Literal["mse", "mae"] = "mse"
    """Loss of a regression: squared or absolute errors of the standardised targets."""

    def __post_init__(self) -> None:
        if self.kind != "auto" and self.metric != "auto":
            self.require_metric_fits(self.kind)
        allowed = "none, as only classes have weights"
        require(self.class_weight == "none" or self.kind in ("auto", "classification"), *self._weight(allowed))
        allowed = "mse, as task.kind is not regression"
        require(self.loss == "mse" or self.kind in ("auto", "regression"), "task.loss", self.loss, allowed)

    def require_metric_fits(self, kind: str) -> None:
        """Raise InputError for a metric of another kind of tasks."""
        fitting = [name for name, metric in METRICS.items() if kind in metric.kinds]
        allowed = f"auto, {', '.join(fitting)}, as the task is {kind}"
        require(self.metric == "auto" or self.metric in fitting, "task.metric", self.metric, allowed)

    def _weight(self, allowed: str) -> tuple[str, str, str]:
        return "task.class_weight", self.class_weight, allowed
