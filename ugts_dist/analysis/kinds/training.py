"""`ugts analyse training`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding
from ugts_dist.config_limits import require

if TYPE_CHECKING:
    from ugts_dist.analysis.subject import Source
    from ugts_dist.analysis.trace import Trace

_MOST_IN_TABLE = 5  # layers of a deep network in the table


@dataclass(frozen=True)
class Training(Analysis):
    """MAD and gradient norms of each layer over training.

    The run is repeated from its configuration, for all its epochs, without writing a network.
    """

    every: int = 10
    """Epochs between measurements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, "--every", self.every, "1 or more")

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.trace import trace_training

        return partial(_finding, trace_training(source.training_config(), self.every, source.ranks))


def _finding(trace: Trace) -> Finding:
    """MAD and gradient norms over training."""
    from ugts_dist.analysis.plots import draw_trace, spread

    outputs, weights = spread(len(trace.layers), _MOST_IN_TABLE), spread(len(trace.weights), _MOST_IN_TABLE)
    columns = ["epoch", "sparsity", *(f"MAD {trace.layers[k]}" for k in outputs)]
    columns += [f"gradient {trace.weights[k]}" for k in weights]
    rows = [
        [str(epoch), f"{sparsity:.3f}", *(f"{mad[k]:.3g}" for k in outputs), *(f"{norms[k]:.3g}" for k in weights)]
        for epoch, sparsity, mad, norms in zip(trace.epochs, trace.sparsity, trace.mad, trace.gradients, strict=True)
    ]
    return Finding("over training", columns, rows, trace.to_dict(), partial(draw_trace, trace=trace))
