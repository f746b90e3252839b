"""Configurations of synthetic graphs, and the named ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ugts_dist.errors import InputError


@dataclass(frozen=True)
class SyntheticConfig:
    """A graph to generate. The same configuration gives the same graph. Raises InputError for a wrong field.

    Edges are in both directions, without self loops and repetitions. Node ids are in random order.
    """

    name: str
    num_nodes: int
    num_edges: int  # counting both directions; met to about 0.2 %, more exactly for larger graphs
    num_features: int
    num_classes: int
    num_train: int  # this and num_valid are exact; the rest are test nodes
    num_valid: int
    homophily: float  # fraction of edges whose ends have the same label, met as num_edges is
    class_power: float  # the size of class k (from 0) is proportional to (k + 1) ** -class_power
    min_degree: float  # the least expected degree
    degree_power: float  # the fraction of nodes with more than d neighbours falls as d ** -degree_power; above 1
    feature_signal: float  # distance of the classes' centres from 0; the noise of each feature has deviation 1
    label_noise: float  # fraction of redrawn labels: 0 for the best connected nodes, up to double for the least
    train_popularity: float  # 0: training nodes are uniform; else proportional to degree ** this, then valid
    seed: int = 0

    def __post_init__(self) -> None:
        mean, pairs = self.num_edges / max(self.num_nodes, 1), self.num_nodes * (self.num_nodes - 1)
        checks = {
            "num_nodes": (self.num_nodes >= 3, "3 or more"),
            "num_features": (self.num_features >= 1, "1 or more"),
            "num_classes": (2 <= self.num_classes <= self.num_nodes, f"2 to num_nodes, {self.num_nodes}"),
            "num_edges": (2 <= self.num_edges <= pairs, f"2 to {pairs}, all pairs in both directions"),
            "num_train": (self.num_train >= 1, "1 or more"),
            "num_valid": (
                1 <= self.num_valid < self.num_nodes - self.num_train,
                "1 or more, with num_train fewer than num_nodes, so that a test node is left",
            ),
            "homophily": (0.0 <= self.homophily <= 1.0, "0 to 1"),
            "class_power": (0.0 <= self.class_power < math.inf, "0 or more"),
            "min_degree": (0.0 <= self.min_degree <= mean, f"0 to the mean degree, {mean:g}"),
            "degree_power": (1.0 < self.degree_power < math.inf, "more than 1"),
            "feature_signal": (0.0 <= self.feature_signal < math.inf, "0 or more"),
            "label_noise": (0.0 <= self.label_noise <= 0.5, "0 to 0.5"),
            "train_popularity": (0.0 <= self.train_popularity < math.inf, "0 or more"),
        }
        for field, (right, allowed) in checks.items():
            if not right:
                raise InputError(f"{self.name}: {field} is {getattr(self, field)}; allowed: {allowed}")

    def scaled(self, fraction: float) -> SyntheticConfig:
        """The same kind of graph with this fraction of the nodes, edges and split; the mean degree stays."""
        if not 0.0 < fraction < math.inf:
            raise InputError(f"scale: {fraction} is no fraction of {self.name}; allowed: above 0, 1 for full size")
        if fraction == 1.0:
            return self
        counts = ("num_nodes", "num_edges", "num_train", "num_valid")
        smaller = {field: round(getattr(self, field) * fraction) for field in counts}
        return replace(self, name=f"{self.name}-{fraction:g}", **smaller)


PRESETS = {
    config.name: config
    for config in (
        SyntheticConfig(
            name="arxiv-like",
            num_nodes=169_343,
            num_edges=2_315_598,
            num_features=128,
            num_classes=40,
            num_train=90_941,
            num_valid=29_799,
            homophily=0.65,
            class_power=0.8,
            min_degree=3.0,
            degree_power=1.5,
            feature_signal=2.2,
            label_noise=0.12,
            train_popularity=0.0,
        ),
        SyntheticConfig(
            name="products-like",
            num_nodes=2_449_029,
            num_edges=123_718_280,
            num_features=100,
            num_classes=47,
            num_train=196_615,
            num_valid=39_323,
            homophily=0.8,
            class_power=1.1,
            min_degree=2.0,
            degree_power=3.0,
            feature_signal=2.1,
            label_noise=0.16,
            train_popularity=0.5,
        ),
        SyntheticConfig(
            name="papers100M-like",
            num_nodes=111_059_956,
            num_edges=1_615_685_872,
            num_features=128,
            num_classes=172,
            num_train=1_207_179,
            num_valid=125_265,
            homophily=0.6,
            class_power=0.8,
            min_degree=3.0,
            degree_power=2.0,
            feature_signal=2.2,
            label_noise=0.2,
            train_popularity=0.0,
        ),
    )
}
