"""Which weights share a threshold, and how many of them are masked at a sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ugts_dist.supermask.recipe import Options


class Group(NamedTuple):
    """Weights that share a threshold, by their places, and how many of them are masked."""

    places: list[int]
    masked: int


@dataclass(frozen=True)
class Plan:
    """What is masked at one sparsity.

    Attributes:
        groups: the global one, or what is not `first`, comes first.
        floors: how many weights of each layer are kept whatever the threshold of its group.
    """

    groups: list[Group]
    floors: list[int]


def plan(sparsity: float, sizes: Mapping[str, int], options: Options) -> Plan:
    """Of weights of these names and sizes."""
    floors = _floors(sparsity, sizes, options)
    return Plan(_groups(sparsity, sizes, options, floors), floors)


def _groups(sparsity: float, of_name: Mapping[str, int], options: Options, floors: list[int]) -> list[Group]:
    sizes = list(of_name.values())
    if options.scope == "layer":
        return [Group([i], round(sparsity * size)) for i, size in enumerate(sizes)]
    masked = round(sparsity * sum(sizes))
    first = [i for i, name in enumerate(of_name) if name in options.first]
    rest = [i for i in range(len(sizes)) if i not in first]
    if not first:
        return [Group(rest, masked)]
    most = round(options.first_sparsity * sum(sizes[i] for i in first))
    least = masked - sum(sizes[i] - floors[i] for i in rest)
    of_first = max(min(most, masked), least)
    return [Group(rest, masked - of_first), Group(first, of_first)]


def _floors(sparsity: float, sizes: Mapping[str, int], options: Options) -> list[int]:
    """How many weights of each layer its floor keeps; none of the first ones."""
    share = options.floor * (1.0 - sparsity)
    return [0 if name in options.first else int(share * size + 1e-6) for name, size in sizes.items()]
