"""`ugts analyse gradients`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding

if TYPE_CHECKING:
    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Gradients(Analysis):
    """Norm of the loss's gradient with respect to the kept weights, layer by layer, in one training step."""

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.gradients import gradients_of
        from ugts_dist.analysis.plots import GRADIENT, draw_by_layer

        norms = gradients_of(source.subject())
        rows = [(layer, f"{value:.4g}") for layer, value in norms.items()]
        draw = partial(draw_by_layer, values=norms, label=GRADIENT, logarithmic=True)
        title = "gradient by the weights that are kept"
        return lambda: Finding(title, ("layer", GRADIENT), rows, {"gradient_norms": norms}, draw)
