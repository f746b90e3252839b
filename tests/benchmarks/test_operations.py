"""The number of operations that a training step starts on a GPU."""

from __future__ import annotations

import pytest
import torch
from operations import Operations, operations

from ugts_dist.supermask import kth_smallest


def test_views_and_memory_count_nothing() -> None:
    with Operations() as counted:
        torch.empty(4, 3).t().unsqueeze(0).zero_().add_(1).detach()
    assert counted.counts == {"aten.zero_.default": 1, "aten.add_.Tensor": 1}


@pytest.mark.parametrize("groups", [1, 2, 30])
def test_a_threshold_is_at_most_twelve_operations_for_any_number_of_groups(groups: int) -> None:
    scores = [[torch.randn(40, generator=torch.Generator().manual_seed(g))] * 3 for g in range(groups)]
    ranks = torch.full((groups,), 50)
    with Operations() as counted:
        thresholds = kth_smallest(scores, ranks)
    assert thresholds.tolist() == [sorted(torch.cat(group).tolist())[50] for group in scores]
    assert counted.counts.total() <= 12


def test_a_step_of_two_layers_is_at_most_sixty_operations() -> None:
    counts = operations("digits", "")
    assert 30 < counts.total() <= 60
    assert counts["aten._fused_adam_.tensor_lr"] == 1
