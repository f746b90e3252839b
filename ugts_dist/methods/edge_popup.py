"""Edge-Popup of Ramanujan et al. (2020): a threshold for each layer, at the full sparsity from the first step on."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class EdgePopup(Method):
    """What UGTs are compared with."""

    title = "Edge-Popup"
    summary = "a threshold a layer, full sparsity at once"
    scope = "layer"
    schedule = "constant"
