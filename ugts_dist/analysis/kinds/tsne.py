"""`ugts analyse tsne`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from ugts_dist.analysis.base import Analysis, Finding
from ugts_dist.config_limits import require

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ugts_dist.analysis.embedding import Outputs
    from ugts_dist.analysis.subject import Source

_MOST_IN_LEGEND = 20


@dataclass(frozen=True)
class Tsne(Analysis):
    """A map of the nodes' representations in two dimensions, by t-SNE."""

    of: Literal["test", "valid", "train"] = "test"
    """Nodes to show."""
    layer: int = 0
    """Layer whose outputs are shown, from 1. 0: the logits."""
    perplexity: float = 50.0
    """Perplexity of t-SNE; at most a third of the number of nodes."""
    classes: int = 10
    """Largest number of classes to show; if there are more, they are drawn at random."""
    points: int = 3000
    """Largest number of nodes to show; if there are more, they are drawn at random."""
    seed: int = 0
    """Seed of the draws and of t-SNE."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.layer >= 0, "--layer", self.layer, "0 or more")
        require(1.0 <= self.perplexity < math.inf, "--perplexity", self.perplexity, "1 or more")
        require(self.classes >= 1, "--classes", self.classes, "1 or more")
        require(self.points >= 4, "--points", self.points, "4 or more")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "0 to 2^32 - 1")

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.embedding import outputs_to_show

        return partial(_finding, outputs_to_show(source.subject().of_classes(), self), self)


def _finding(outputs: Outputs, options: Tsne) -> Finding:
    """The map. It is computed here, which can take minutes."""
    from ugts_dist.analysis.embedding import tsne

    points = tsne(outputs.x, options.perplexity, options.seed)
    classes = outputs.y.unique().tolist()
    rows = [(str(k), f"{int((outputs.y == k).sum()):,}") for k in classes]
    shown = "logits" if options.layer == 0 else f"outputs of layer {options.layer}"
    title = f"t-SNE of the {shown}, {options.of} nodes"
    values = {
        "nodes": outputs.nodes.tolist(),
        "classes": outputs.y.tolist(),
        "points": [[round(float(value), 4) for value in point] for point in points],
    }
    return Finding(title, ("class", "nodes"), rows, values, partial(_draw_points, points=points, y=outputs.y.numpy()))


def _draw_points(figure: Figure, points: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    import numpy as np
    from matplotlib import colormaps

    axes = figure.subplots()
    classes = np.unique(y)
    colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    for k, number in enumerate(classes):
        colour = colours(k if len(classes) <= 10 else k / (len(classes) - 1))
        some = points[y == number]
        axes.scatter(some[:, 0], some[:, 1], s=6, color=colour, linewidths=0, label=f"class {number}")
    if len(classes) <= _MOST_IN_LEGEND:
        axes.legend(fontsize="small", markerscale=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set(xlabel="first dimension", ylabel="second dimension", xticks=[], yticks=[])
