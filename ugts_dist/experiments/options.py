"""The options of `ugts demo`. Nothing heavy is imported here, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoOptions:
    """Dense network, Edge-Popup and UGTs at three sparsities on handwritten digits, with mini-batches.

    Needs no data and no network; on two ranks: `torchrun --standalone --nproc_per_node=2 -m ugts_dist demo`.
    """

    folder: str = ""
    """Where runs, table and plot are written; must not exist. Empty: a new folder under runs/."""
    seed: int = 0
    """Seed of every run."""
