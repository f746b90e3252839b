"""Metrics of link prediction, compared with OGB's Evaluator and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from ogb.linkproppred import Evaluator
from sklearn.metrics import average_precision_score, roc_auc_score

from ugts_dist.evaluation import link_scores

G = torch.Generator().manual_seed(0)
POSITIVE = torch.randn(300, generator=G, dtype=torch.float64).mul(4).round().div(4) + 0.5  # with ties
NEGATIVE = torch.randn(400, generator=G, dtype=torch.float64).mul(4).round().div(4)


@pytest.mark.parametrize("k", [10, 50, 100])
def test_hits_are_those_of_ogb(k: int) -> None:
    evaluator = Evaluator("ogbl-collab")
    evaluator.K = k
    theirs = evaluator.eval({"y_pred_pos": POSITIVE, "y_pred_neg": NEGATIVE})[f"hits@{k}"]
    ours = link_scores.measured(f"hits@{k}", POSITIVE.numpy(), NEGATIVE.numpy())
    assert 0.0 < ours < 1.0
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_the_mean_reciprocal_rank_is_that_of_ogb() -> None:
    negative = torch.randn(300, 100, generator=G, dtype=torch.float64).mul(4).round().div(4)
    theirs = Evaluator("ogbl-citation2").eval({"y_pred_pos": POSITIVE, "y_pred_neg": negative})["mrr_list"]
    torch.testing.assert_close(link_scores.reciprocal_ranks(POSITIVE, negative).float(), theirs)


def test_areas_are_those_of_scikit_learn() -> None:
    y = torch.cat([torch.ones(300), torch.zeros(400)])
    logits = torch.cat([POSITIVE, NEGATIVE])
    for metric, theirs in (("roc-auc", roc_auc_score), ("average-precision", average_precision_score)):
        assert link_scores.measured(metric, POSITIVE.numpy(), NEGATIVE.numpy()) == pytest.approx(theirs(y, logits))


def test_num_hits() -> None:
    assert [link_scores.num_hits(metric) for metric in ("hits@50", "mrr", "roc-auc")] == [50, 0, 0]
