"""`ugts analyse mad`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding

if TYPE_CHECKING:
    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Mad(Analysis):
    """Over-smoothing: the mean cosine distance between the nodes' representations (MAD), layer by layer."""

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.plots import MAD, draw_by_layer
        from ugts_dist.analysis.smoothing import mad_of_layers

        subject = source.subject()
        mad = mad_of_layers(subject.evaluator(), subject.model, subject.ranks)
        rows = [(layer, f"{value:.4g}") for layer, value in mad.items()]
        draw = partial(draw_by_layer, values=mad, label=MAD, logarithmic=False)
        return lambda: Finding("distance of the nodes' outputs", ("layer", "MAD"), rows, {"mad": mad}, draw)
