"""Accuracy under noise against one that is computed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ugts_dist.analysis.robustness import NOISES, Noise, under_noise, without_noise
from ugts_dist.analysis.subject import open_subject
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.perturb import edge_noise, feature_noise


@pytest.mark.parametrize("noise", NOISES)
def test_accuracy_is_that_on_the_noisy_graph(ticket_run: Path, noise: Noise) -> None:
    subject = open_subject(ticket_run, Ranks())
    rows = under_noise(subject, noise, (0.0, 0.3), draws=2)
    assert [row.fraction for row in rows] == [0.0, 0.3]
    perturb = {"features": feature_noise, "edges": edge_noise}[noise]
    for row in rows:
        expected = []
        for seed in range(2 if row.fraction else 1):
            graph = perturb(subject.graph, row.fraction, seed)
            logits = subject.evaluator(graph).logits(subject.model)
            expected.append(float((logits.argmax(1) == graph.y)[graph.test].double().mean()))
        assert row.accuracies == pytest.approx(expected, abs=1e-9)
        assert row.mean == pytest.approx(sum(expected) / len(expected))
    assert rows[1].mean < rows[0].mean
    assert rows[1].accuracies[0] != rows[1].accuracies[1]


def test_noise_of_the_training_is_not_added_to(ticket_run: Path) -> None:
    subject = open_subject(ticket_run, Ranks())
    noisy = dataclasses.replace(
        subject,
        config=subject.config.replace({"data.edge_noise": 0.2, "data.feature_noise": 0.2}),
        graph=edge_noise(feature_noise(subject.graph, 0.2, 0), 0.2, 0),
    )
    clean = without_noise(noisy)
    assert clean.graph.num_classes == 6
    assert under_noise(clean, "edges", (0.2,)) == under_noise(subject, "edges", (0.2,))
    assert under_noise(noisy, "edges", (0.2,)) != under_noise(subject, "edges", (0.2,))
