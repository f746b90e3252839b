"""UGTs at full sparsity from the start: an ablation (Table 5 of Huang et al. 2022)."""

from __future__ import annotations

from ugts_dist.methods.base import Method


class NoGradual(Method):
    """The global threshold alone."""

    title = "UGTs without gradual sparsity"
    summary = "one global threshold, full sparsity from the start"
    schedule = "constant"
