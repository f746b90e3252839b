"""A random split of the labelled nodes, for a graph without a split of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from ugts_dist import hashing
from ugts_dist.config_limits import MAX_SEED, require
from ugts_dist.errors import InputError
from ugts_dist.graphs.splits import SPLITS

_OPTION = "--split-random"
_RANDOM = 0x52414E444F4D  # separates these hashes from those of other splits, of seeds and of neighbours

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RandomSplit:
    """Percentages of the labelled nodes for training, validation and test, and the seed of the draw."""

    text: str
    percentages: tuple[Fraction, ...]
    seed: int

    @classmethod
    def parse(cls, text: str, seed: int) -> RandomSplit:
        """Three percentages, such as "60/20/20".

        Raises InputError unless they are positive and at most 100 together.
        """
        parts = text.split("/")
        are_numbers = len(parts) == len(SPLITS) and all(
            re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", part) for part in parts
        )
        percentages = tuple(map(Fraction, parts)) if are_numbers else ()
        allowed = "percentages for training, validation and test such as 60/20/20, above 0, at most 100 together"
        require(bool(percentages) and min(percentages) > 0 and sum(percentages) <= 100, _OPTION, text, allowed)
        require(0 <= seed <= MAX_SEED, "--seed", seed, f"0 to {MAX_SEED}")
        return cls(text, percentages, seed)

    def draw(self, labelled: Integers) -> dict[str, Integers]:
        """The ascending nodes of each split.

        `labelled` are the ascending ids of the nodes with a label. The result depends on these, the percentages and the
        seed, not on a library's random generator. Raises InputError if a split would have no nodes.
        """
        nodes = torch.from_numpy(labelled)
        order = hashing.stream(hashing.key(_RANDOM, self.seed), nodes).argsort(stable=True).numpy()
        ends = [round(len(labelled) * sum(self.percentages[:k]) / 100) for k in range(len(SPLITS) + 1)]
        drawn = {
            split: np.sort(labelled[order[first:end]])
            for split, first, end in zip(SPLITS, ends, ends[1:], strict=False)
        }
        for split, members in drawn.items():
            if not len(members):
                raise InputError(f"{_OPTION}: {self.text} of {len(labelled)} labelled nodes leaves none for {split}")
        return drawn
