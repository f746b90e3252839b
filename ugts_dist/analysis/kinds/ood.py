"""`ugts analyse ood`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ugts_dist.analysis.ood import Detection
    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Ood(Analysis):
    """Detection of left-out classes: whether the network is less confident on their test nodes (ROC-AUC).

    For runs with left-out classes: `ugts train --data.left-out 0.4`.
    """

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.ood import detect

        return partial(_finding, detect(source.subject().of_classes()))


def _finding(detection: Detection) -> Finding:
    """The confidence on known and on left-out classes."""
    rows = [
        ("ROC-AUC", f"{detection.roc_auc:.4f}"),
        ("left-out classes", ", ".join(map(str, detection.classes))),
        ("test nodes of known classes", f"{detection.known.numel():,}"),
        ("mean probability, known classes", f"{float(detection.known.mean()):.4f}"),
        ("test nodes of left-out classes", f"{detection.unknown.numel():,}"),
        ("mean probability, left-out classes", f"{float(detection.unknown.mean()):.4f}"),
    ]
    values = {
        "roc_auc": detection.roc_auc,
        "classes": detection.classes,
        "num_known": detection.known.numel(),
        "num_unknown": detection.unknown.numel(),
        "mean_known": float(detection.known.mean()),
        "mean_unknown": float(detection.unknown.mean()),
    }
    title = "test nodes of classes that were left out"
    return Finding(title, ("measure", "value"), rows, values, partial(_draw, detection=detection))


def _draw(figure: Figure, detection: Detection) -> None:
    import numpy as np
    from sklearn.metrics import roc_curve

    figure.set_size_inches(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0.0, 1.0, 41).tolist()
    left.hist(detection.known.numpy(), bins, density=True, alpha=0.6, label="known classes")
    left.hist(detection.unknown.numpy(), bins, density=True, alpha=0.6, label="left-out classes")
    left.set(xlabel="largest probability", ylabel="density")
    left.legend(fontsize="small")
    truth = np.concatenate([np.zeros(detection.known.numel()), np.ones(detection.unknown.numel())])
    scores = -np.concatenate([detection.known.numpy(), detection.unknown.numpy()])
    false, true, _ = roc_curve(truth, scores)
    right.plot(false, true, label=f"ROC-AUC {detection.roc_auc:.3f}")
    right.plot([0, 1], [0, 1], color="grey", linestyle="--", label="chance")
    right.set(xlabel="known nodes taken for left-out ones", ylabel="left-out nodes found")
    right.legend(fontsize="small")
