"""Edge-Popup of Ramanujan et al. (2020): one threshold per layer, at full sparsity from the start."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class EdgePopup(Method):
    """The baseline of UGTs."""

    title = "Edge-Popup"
    summary = "one threshold per layer, full sparsity from the start"
    scope = "layer"
    schedule = "constant"
