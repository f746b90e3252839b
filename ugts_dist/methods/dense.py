"""The trained dense network, the baseline of all tickets."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class Dense(Method):
    """No mask."""

    title = "trained dense network"
    summary = "no mask, the weights are trained"
    schedule = "constant"
    masks = False
