"""The section [task] of a configuration: what is predicted, by which metric and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ugts_dist.config_limits import MAX_WIDTH, require, require_count
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

    valid_edges: float = 0.05
    """Fraction of the edges that are held out for validation, for link; both directions of an edge go together."""
    test_edges: float = 0.1
    """Fraction of the edges that are held out for test, for link."""
    embedding: int = 64
    """Numbers per node that the network computes, for link. The logit of a pair is the dot product of its nodes'."""

    def __post_init__(self) -> None:
        if self.kind != "auto" and self.metric != "auto":
            self.require_metric_fits(self.kind)
        allowed = "none, as only classes have weights"
        require(self.class_weight == "none" or self.kind in ("auto", "classification"), *self._weight(allowed))
        allowed = "mse, as task.kind is not regression"
        require(self.loss == "mse" or self.kind in ("auto", "regression"), "task.loss", self.loss, allowed)

        self._check_links()

    def _check_links(self) -> None:
        """Check the fields of link prediction."""
        for field in ("valid_edges", "test_edges", "embedding"):
            value, default = getattr(self, field), getattr(TaskConfig, field)
            allowed = f"{default}, as task.kind is not link"
            require(value == default or self.kind == "link", f"task.{field}", value, allowed)
        for field in ("valid_edges", "test_edges"):
            value = getattr(self, field)
            require(0.0 < value < 1.0, f"task.{field}", value, "a fraction above 0 and below 1")
        together = self.valid_edges + self.test_edges
        allowed = f"a fraction that leaves edges to train, as task.valid_edges is {self.valid_edges}"
        require(together < 1.0, "task.test_edges", self.test_edges, allowed)
        require_count("task.embedding", self.embedding, 1, MAX_WIDTH)

    def require_metric_fits(self, kind: str) -> None:
        """Raise InputError for a metric of another kind of tasks."""
        fitting = [name for name, metric in METRICS.items() if kind in metric.kinds]
        allowed = f"auto, {', '.join(fitting)}, as the task is {kind}"
        require(self.metric == "auto" or self.metric in fitting, "task.metric", self.metric, allowed)

    def _weight(self, allowed: str) -> tuple[str, str, str]:
        return "task.class_weight", self.class_weight, allowed
