"""Graphs of any size with planted classes, heavy-tailed degrees and informative features, written as a store.

They replace OGB's graphs if those are not available, and resemble them in size, degrees, class sizes, homophily and
split. Nothing in them is real.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ugts_dist import hashing
from ugts_dist.errors import InputError
from ugts_dist.graphs.block_model import Between, BlockModel, IntArray, Stratum, Within
from ugts_dist.graphs.external_sort import EdgeSorter
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.index_type import numpy_index_type

FloatArray = NDArray[np.floating[Any]]
Progress = Callable[[str, float], None]

MEMORY = 1 << 28

_DOMAIN = 0x53594E5448  # separates these hashes from those of seeds, splits and neighbours
_WEIGHT_UNIT = 1 << 16  # weights are integers, so that their sums are exact
_PAIR_BYTES = 256  # per pair, including temporary memory for drawing and sorting
_FEATURE_BYTES = 2048  # far fewer features at once than memory allows, so that they stay in the cache


class _Purpose(IntEnum):
    """The purpose of a sequence of random bits."""

    ORDER = 0
    DEGREE = 1
    WITHIN = 2
    BETWEEN = 3
    LABEL_NOISE = 4
    LABEL = 5
    CENTRE = 6
    FEATURE = 7
    SPLIT = 8


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
    )
}


@dataclass(frozen=True)
class _Plan:
    """All decisions before writing."""

    model: BlockModel
    order: IntArray  # [num_nodes] node id of each position of the model
    labels: IntArray  # [num_nodes] by position: the class with label noise
    draws: dict[Stratum, int]


def generate(config: SyntheticConfig, folder: Path, progress: Progress | None = None, memory: int = MEMORY) -> None:
    """Generate the graph as a store in ``folder``, in memory of some 200 bytes per node and a few times ``memory``.

    The graph depends on ``config`` only, not on ``memory`` (bytes of temporary arrays). ``progress`` is called with the
    name of the stage and its finished fraction. Temporary files take 9 bytes per edge on the same disk. Raises
    InputError for an impossible graph, and as StoreWriter does.
    """
    report = progress or (lambda stage, done: None)
    plan = _plan(config)
    with StoreWriter(folder, config.name, config.num_classes, asdict(config)) as store:
        sorter = EdgeSorter(store.temporary, config.num_nodes, 2 * sum(plan.draws.values()), memory)
        _draw_edges(plan, sorter, memory, report)
        indptr = np.zeros(config.num_nodes + 1, dtype=np.int64)
        store.write("indices", numpy_index_type(config.num_nodes), _neighbours(sorter, indptr, report))
        store.write("indptr", indptr.dtype, [indptr.cumsum()])
        features = _features(config, _by_node(plan.order, plan.model.classes), memory, report)
        store.write("x", np.dtype(np.float32), features, (config.num_features,))
        store.write("y", np.dtype(np.int64), [_by_node(plan.order, plan.labels)])
        for array, nodes in _split(config, _by_node(plan.order, plan.model.weights)).items():
            store.write(array, np.dtype(np.int64), [nodes])
        report("checks", 0.0)
        store.finish()
        report("checks", 1.0)


def _plan(config: SyntheticConfig) -> _Plan:
    ranks = _bits(config, _Purpose.DEGREE, config.num_nodes).argsort()
    model = BlockModel(_classes(config), _weights(config)[ranks])
    labels = _labels(config, model.classes, ranks)
    within = Within(model, hashing.key(_DOMAIN, config.seed, _Purpose.WITHIN))
    between = Between(model, hashing.key(_DOMAIN, config.seed, _Purpose.BETWEEN))
    num_pairs = config.num_edges // 2
    most = within.share_alike(labels, round(num_pairs * config.homophily))
    least = between.share_alike(labels, round(num_pairs * (1.0 - config.homophily)))
    if not least <= config.homophily <= most:
        raise InputError(
            f"{config.name}: homophily is {config.homophily}; allowed with label_noise {config.label_noise}: "
            f"{math.ceil(1000 * least) / 1000} to {math.floor(1000 * most) / 1000}"
        )
    num_within = round(num_pairs * (config.homophily - least) / (most - least))
    draws: dict[Stratum, int] = {
        within: within.num_draws(num_within),
        between: between.num_draws(num_pairs - num_within),
    }
    return _Plan(model, _bits(config, _Purpose.ORDER, config.num_nodes).argsort(), labels, draws)


def _classes(config: SyntheticConfig) -> IntArray:
    """The class of each position, ascending; each class has at least one node."""
    shares = np.arange(1, config.num_classes + 1) ** -config.class_power
    spare = config.num_nodes - config.num_classes
    ends = np.rint(spare * shares.cumsum() / shares.sum()).astype(np.int64)
    return np.repeat(np.arange(config.num_classes), np.diff(ends, prepend=0) + 1)


def _weights(config: SyntheticConfig) -> IntArray:
    """Expected degrees in units of 2^-16, descending: evenly spaced quantiles of a shifted Lomax distribution."""
    tail = _quantiles(config.num_nodes) ** (-1.0 / config.degree_power) - 1.0
    mean = config.num_edges / config.num_nodes
    degrees = config.min_degree + (mean - config.min_degree) * tail / tail.mean()
    return np.maximum(np.rint(degrees * _WEIGHT_UNIT), 1).astype(np.int64)


def _labels(config: SyntheticConfig, classes: IntArray, ranks: IntArray) -> IntArray:
    """The classes with noise: some nodes have the label of a random node."""
    chance = 2.0 * config.label_noise * _quantiles(config.num_nodes)[ranks]
    noisy = _uniform(_bits(config, _Purpose.LABEL_NOISE, config.num_nodes)) < chance
    bits = torch.from_numpy(_bits(config, _Purpose.LABEL, config.num_nodes))
    anyone = hashing.below(bits, torch.tensor(config.num_nodes)).numpy()
    return np.where(noisy, classes[anyone], classes)


def _draw_edges(plan: _Plan, sorter: EdgeSorter, memory: int, report: Progress) -> None:
    chunk = max(1, memory // _PAIR_BYTES)
    total, done = sum(plan.draws.values()), 0
    for stratum, draws in plan.draws.items():
        for first in range(0, draws, chunk):
            last = min(first + chunk, draws)
            start, end = (plan.order[positions] for positions in stratum.draw(first, last))
            sorter.add(np.concatenate([start, end]), np.concatenate([end, start]))
            done += last - first
            report("edges", done / total)


def _neighbours(sorter: EdgeSorter, indptr: IntArray, report: Progress) -> Iterator[IntArray]:
    """The sources of all edges; the degree of node v is written to ``indptr[v + 1]``."""
    for first, degree, sources in sorter.neighbours():
        last = first + len(degree)
        indptr[first + 1 : last + 1] = degree
        yield sources
        report("neighbours", last / (len(indptr) - 1))


def _features(
    config: SyntheticConfig, classes: IntArray, memory: int, report: Progress
) -> Iterator[NDArray[np.float32]]:
    """Rows of features, the centre of the node's class with noise; ``classes`` is [num_nodes] by node."""
    width = config.num_features
    centres = _noise(config, _Purpose.CENTRE, 0, config.num_classes * width).reshape(-1, width)
    centres *= config.feature_signal / np.linalg.norm(centres, axis=1, keepdims=True)
    chunk = max(1, memory // (_FEATURE_BYTES * width))
    for first in range(0, config.num_nodes, chunk):
        last = min(first + chunk, config.num_nodes)
        noise = _noise(config, _Purpose.FEATURE, first * width, last * width)
        yield noise.reshape(-1, width) + centres[classes[first:last]]
        report("features", last / config.num_nodes)


def _noise(config: SyntheticConfig, purpose: _Purpose, first: int, last: int) -> NDArray[np.float32]:
    """Approximately normal numbers with mean 0 and deviation 1: the sum of four uniform ones, within 3.5."""
    bits = _bits(config, purpose, last, first)
    total = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48 & 0xFFFF)
    return ((total - 2 * 0xFFFF) * (math.sqrt(3.0) / (1 << 16))).astype(np.float32)


def _split(config: SyntheticConfig, weights: IntArray) -> dict[str, IntArray]:
    """Ascending ids of the training, validation and test nodes; ``weights`` is [num_nodes] by node."""
    # Weighted sampling without replacement (Efraimidis and Spirakis 2006): the smallest of exponential variables.
    clocks = -np.log1p(-_uniform(_bits(config, _Purpose.SPLIT, config.num_nodes)))
    order = (clocks / (weights / weights.mean()) ** config.train_popularity).argsort(kind="stable")
    parts = np.split(order, [config.num_train, config.num_train + config.num_valid])
    return {array: np.sort(nodes) for array, nodes in zip(("train", "valid", "test"), parts, strict=True)}


def _quantiles(count: int) -> FloatArray:
    return (np.arange(count) + 0.5) / count


def _bits(config: SyntheticConfig, purpose: _Purpose, last: int, first: int = 0) -> IntArray:
    """Elements ``first`` to ``last - 1`` of the purpose's random sequence, 64 bits each."""
    bits: IntArray = hashing.stream(hashing.key(_DOMAIN, config.seed, purpose), torch.arange(first, last)).numpy()
    return bits


def _uniform(bits: IntArray) -> FloatArray:
    """Numbers in [0, 1) from the top 53 bits."""
    return (bits >> 11 & ((1 << 53) - 1)) * 2.0**-53


def _by_node(order: IntArray, values: IntArray) -> IntArray:
    """Convert values by position to values by node id."""
    result = np.empty_like(values)
    result[order] = values
    return result
