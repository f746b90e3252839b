"""The degree-corrected stochastic block model (Karrer and Newman 2011, arXiv:1008.3926), drawn pair by pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.errors import InputError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_SAMPLE = 1 << 18  # pairs for estimates of expectations, exact to about 0.1 %
_MOST_DRAWS = 16  # per wanted pair; if more are needed, hardly any new pairs are left


class BlockModel:
    """Nodes with a class and a weight; a node's expected number of neighbours is proportional to its weight.

    Nodes are *positions* 0 to num_nodes - 1, ordered by class.

    Args:
        classes: [num_nodes], ascending.
        weights: [num_nodes] positive integers, their sum below 2^53.
    """

    def __init__(self, classes: IntArray, weights: IntArray) -> None:
        self.classes = classes
        self.weights = weights
        self.cumulative = weights.cumsum()
        ends = np.searchsorted(classes, np.arange(int(classes[-1]) + 1), side="right")
        self.ends = self.cumulative[ends - 1]  # [num_classes] weight up to the end of each class
        self.masses = np.diff(self.ends, prepend=0)  # [num_classes] weight of each class
        self.total = int(self.ends[-1])

    def locate(self, points: IntArray) -> IntArray:
        """The positions whose intervals of the total weight contain the points."""
        # In roughly ascending order the search uses the cache and is several times as fast as in random order. 16 bits
        # are enough for that, and numpy sorts them by radix.
        leading = points >> max(0, self.total.bit_length() - 16)
        order = leading.astype(np.uint16).argsort(kind="stable")
        positions = np.empty_like(points)
        positions[order] = np.searchsorted(self.cumulative, points[order], side="right")
        return positions


class Stratum(ABC):
    """A sequence of random pairs, each end drawn in proportion to its weight. Pair i depends on ``key`` and i only."""

    def __init__(self, model: BlockModel, key: int) -> None:
        self.model = model
        self._keys = hashing.key(key, 0), hashing.key(key, 1)

    def draw(self, first: int, last: int) -> tuple[IntArray, IntArray]:
        """The positions of pairs ``first`` to ``last - 1``, [last - first] each, with repetitions and self loops."""
        counter = torch.arange(first, last)
        own, other = (hashing.stream(key, counter) for key in self._keys)
        start = self.model.locate(hashing.below(own, torch.tensor(self.model.total)).numpy())
        return start, self.model.locate(self._partner(self.model.classes[start], other))

    def num_draws(self, num_pairs: int) -> int:
        """The expected number of draws for ``num_pairs`` distinct pairs without self loops.

        Raises InputError if the model hardly has so many.
        """
        if num_pairs == 0:
            return 0
        low, high = num_pairs, _MOST_DRAWS * num_pairs
        if self._num_distinct(high) < num_pairs:
            raise InputError(
                f"num_edges: {2 * num_pairs} {self.kind} is more than repeated drawing can find among so few nodes "
                f"of such degrees; allowed: about {int(2 * self._num_distinct(high))}"
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._num_distinct(middle) >= num_pairs else (middle, high)
        return high

    def share_alike(self, values: IntArray, draws: int) -> float:
        """The expected fraction of the distinct pairs among ``draws`` whose ends have the same of ``values``
        [num_nodes].
        """
        start, end, _ = self._sample
        new = self._new(draws)
        return float(new[values[start] == values[end]].sum() / new.sum())

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the pairs have in common, for messages."""

    @abstractmethod
    def _partner(self, classes: IntArray, bits: Tensor) -> IntArray:
        """Points of the total weight for the second ends, given the classes of the first ends."""

    @abstractmethod
    def _probability(self, start: IntArray, end: IntArray) -> FloatArray:
        """The probability that a draw gives this pair, in either order."""

    @cached_property
    def _sample(self) -> tuple[IntArray, IntArray, FloatArray]:
        start, end = self.draw(0, _SAMPLE)
        return start, end, self._probability(start, end)

    def _num_distinct(self, draws: int) -> float:
        return draws * float(self._new(draws).mean())

    def _new(self, draws: int) -> FloatArray:
        """For each pair of the sample: the expected fraction of its occurrences in ``draws`` that are its first."""
        # Pair p is drawn draws * p times on average, and at least once with probability 1 - exp(-draws * p).
        start, end, probability = self._sample
        expected = max(draws, 1) * probability
        return np.where(start == end, 0.0, -np.expm1(-expected) / expected)


class Within(Stratum):
    """Pairs of nodes of one class."""

    kind = "within classes"

    def _partner(self, classes: IntArray, bits: Tensor) -> IntArray:
        masses = self.model.masses[classes]
        return self.model.ends[classes] - masses + hashing.below(bits, torch.from_numpy(masses)).numpy()

    def _probability(self, start: IntArray, end: IntArray) -> FloatArray:
        model = self.model
        own = model.weights[start] / model.masses[model.classes[start]]
        return 2.0 * own * (model.weights[end] / model.total)


class Between(Stratum):
    """Pairs of nodes of two classes."""

    kind = "between classes"

    def _partner(self, classes: IntArray, bits: Tensor) -> IntArray:
        masses, ends = self.model.masses[classes], self.model.ends[classes]
        points = hashing.below(bits, torch.from_numpy(self.model.total - masses)).numpy()
        return np.where(points < ends - masses, points, points + masses)

    def _probability(self, start: IntArray, end: IntArray) -> FloatArray:
        model = self.model
        others = model.total - model.masses
        chance = 1.0 / others[model.classes[start]] + 1.0 / others[model.classes[end]]
        return (model.weights[start] / model.total) * model.weights[end] * chance
