"""Graphs of any size with planted classes, heavy-tailed degrees and informative features, written as a store.

They replace OGB's graphs if those are not available, and resemble them in size, degrees, class sizes, homophily and
split. Nothing in them is real.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
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
from ugts_dist.graphs.synthetic_config import SyntheticConfig
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
