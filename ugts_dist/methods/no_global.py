"""UGTs with one threshold per layer: an ablation (Table 5 of Huang et al. 2022)."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class NoGlobal(Method):
    """Gradual sparsity alone."""

    title = "UGTs without the global threshold"
    summary = "one threshold per layer, gradual sparsity"
    scope = "layer"
