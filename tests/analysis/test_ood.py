"""ROC-AUC against a count of all pairs and against scikit-learn; which nodes count as what."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.training.helpers import config
from ugts_dist.analysis.ood import detect, roc_auc, roc_auc_of
from ugts_dist.analysis.subject import open_subject
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.configured import load_graph

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5001, 1.0]), min_size=1, max_size=20)


@given(SCORES, SCORES)
def test_roc_auc_counts_pairs(negative: list[float], positive: list[float]) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    auc = roc_auc(torch.tensor(negative, dtype=torch.float64), torch.tensor(positive, dtype=torch.float64))
    assert auc == pytest.approx(wins / (len(positive) * len(negative)))


def test_left_out_test_nodes_are_the_positives(ticket_run: Path) -> None:
    subject = open_subject(ticket_run, Ranks())
    detection = detect(subject)
    # The whole graph, with labels that the network never saw.
    truth = load_graph(config())
    left_out = torch.isin(truth.y[truth.test], torch.tensor(detection.classes))
    sure = subject.evaluator().logits(subject.model).double().softmax(1).amax(1)[truth.test]
    assert len(detection.classes) == 4
    assert detection.unknown.numel() == int(left_out.sum())
    assert detection.known.numel() == int((~left_out).sum())
    torch.testing.assert_close(detection.unknown, sure[left_out])
    torch.testing.assert_close(detection.known, sure[~left_out])
    assert detection.roc_auc == pytest.approx(roc_auc_score(left_out.numpy(), -sure.numpy()), abs=1e-9)
    assert roc_auc_of(ticket_run, Ranks()) == detection.roc_auc
    assert detection.roc_auc > 0.6


def test_a_run_that_knows_all_classes_is_refused(dense_run: Path) -> None:
    with pytest.raises(InputError, match=r"of a run without left-out classes; train one with --data.left-out"):
        roc_auc_of(dense_run, Ranks())
