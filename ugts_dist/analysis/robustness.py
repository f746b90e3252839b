"""Accuracy of a network when its graph gets noise after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Literal

import torch

from ugts_dist.analysis.subject import Subject
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.perturb import edge_noise, feature_noise

Noise = Literal["features", "edges"]
NOISES: dict[Noise, Callable[[Graph, float, int], Graph]] = {"features": feature_noise, "edges": edge_noise}


@dataclass(frozen=True)
class UnderNoise:
    """Test accuracy with one fraction of the nodes or edges changed; one value per draw."""

    fraction: float
    accuracies: list[float]

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Standard deviation of the draws."""
        return pstdev(self.accuracies)


def without_noise(subject: Subject) -> Subject:
    """The same network on its graph without the noise of its training, if any. Collective."""
    data = subject.config.data
    if not data.feature_noise and not data.edge_noise:
        return subject
    clean = subject.config.replace({"data.feature_noise": 0.0, "data.edge_noise": 0.0})
    return replace(subject, graph=subject.ranks.raise_together(lambda: load_graph(clean, subject.trained_on)))


def under_noise(subject: Subject, noise: Noise, fractions: Sequence[float], draws: int = 1) -> list[UnderNoise]:
    """Test accuracy of a network on its own graph with noise in features or edges. Collective.

    Args:
        fractions: of the nodes outside the training set, or of the edges.
        draws: number of draws of the noise, from seeds 0, 1, ... For one draw, a larger fraction includes the changes
            of a smaller one.

    Raises InputError as the noise does.
    """
    return [
        UnderNoise(fraction, [_accuracy(subject, noise, fraction, seed) for seed in range(draws if fraction else 1)])
        for fraction in fractions
    ]


def _accuracy(subject: Subject, noise: Noise, fraction: float, seed: int) -> float:
    ranks = subject.ranks
    graph = ranks.raise_together(lambda: NOISES[noise](subject.graph, fraction, seed) if fraction else subject.graph)
    measured, _ = subject.evaluator(graph).measure(subject.model, torch.zeros((), device=ranks.device))
    return measured["test"]
