"""UGTs of Huang et al. (2022): one threshold for all layers, and a sparsity that rises over the epochs (Eq. 5)."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class UGTs(Method):
    """The paper's method."""

    title = "UGTs"
    summary = "one global threshold, gradual sparsity"
