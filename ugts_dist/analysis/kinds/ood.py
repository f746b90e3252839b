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

        return partial(_finding, detect(source.subject()))


def _finding(found: Detection) -> Finding:
    """The confidence on known and on left-out classes."""
    rows = [
        ("ROC-AUC", f"{found.roc_auc:.4f}"),
        ("left-out classes", ", ".join(map(str, found.classes))),
        ("test nodes of known classes", f"{found.known.numel():,}"),
        ("mean probability, known classes", f"{float(found.known.mean()):.4f}"),
        ("test nodes of left-out classes", f"{found.unknown.numel():,}"),
        ("mean probability, left-out classes", f"{float(found.unknown.mean()):.4f}"),
    ]
    values = {
        "roc_auc": found.roc_auc,
        "classes": found.classes,
        "num_known": found.known.numel(),
        "num_unknown": found.unknown.numel(),
        "mean_known": float(found.known.mean()),
        "mean_unknown": float(found.unknown.mean()),
    }
    title = "test nodes of classes that were left out"
    return Finding(title, ("measure", "value"), rows, values, partial(_draw, found=found))


def _draw(figure: Figure, found: Detection) -> None:
    import numpy as np
    from sklearn.metrics import roc_curve

    figure.set_size_inches(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0.0, 1.0, 41).tolist()
    left.hist(found.known.numpy(), bins, density=True, alpha=0.6, label="known classes")
    left.hist(found.unknown.numpy(), bins, density=True, alpha=0.6, label="left-out classes")
    left.set(xlabel="largest probability", ylabel="density")
    left.legend(fontsize="small")
    truth = np.concatenate([np.zeros(found.known.numel()), np.ones(found.unknown.numel())])
    scores = -np.concatenate([found.known.numpy(), found.unknown.numpy()])
    false, true, _ = roc_curve(truth, scores)
    right.plot(false, true, label=f"ROC-AUC {found.roc_auc:.3f}")
    right.plot([0, 1], [0, 1], color="grey", linestyle="--", label="chance")
    right.set(xlabel="known nodes taken for left-out ones", ylabel="left-out nodes found")
    right.legend(fontsize="small")
