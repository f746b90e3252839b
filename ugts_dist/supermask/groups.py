"""Which weights share a threshold, and how many of them are masked at a sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ugts_dist.supermask.form import Form
from ugts_dist.supermask.frozen import frozen_counts
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
    """Of weights of these names and sizes. What is pruned is always masked, and what is locked never."""
    form = options.form
    layers = [_layer(sparsity, name, size, options, form) for name, size in sizes.items()]
    return Plan(_groups(sparsity, layers, options), [layer.floor for layer in layers])


class _Layer(NamedTuple):
    """A weight tensor.

    Attributes:
        floor: how many weights are kept whatever the threshold; none of what is first.
        least, most: how many can be masked, whatever the threshold, and but for the floor.
    """

    size: int
    is_first: bool
    floor: int
    least: int
    most: int


def _layer(sparsity: float, name: str, size: int, options: Options, form: Form) -> _Layer:
    pruned, locked = frozen_counts(size, form)
    is_first = name in options.first
    floor = 0 if is_first else int(options.floor * (1.0 - sparsity) * size + 1e-6)
    return _Layer(size, is_first, min(floor, size - pruned), pruned, size - locked)


def _groups(sparsity: float, layers: list[_Layer], options: Options) -> list[Group]:
    if options.scope == "layer":
        return [Group([i], _masked(sparsity, [layer])) for i, layer in enumerate(layers)]
    masked = _masked(sparsity, layers)
    first = [layer for layer in layers if layer.is_first]
    rest = [layer for layer in layers if not layer.is_first]
    if not first:
        return [Group(list(range(len(layers))), masked)]
    wanted = min(round(options.first_sparsity * sum(layer.size for layer in first)), masked)
    of_rest = sum(min(layer.most, layer.size - layer.floor) for layer in rest)
    least = max(masked - of_rest, sum(layer.least for layer in first))
    most = min(sum(layer.most for layer in first), masked - sum(layer.least for layer in rest))
    of_first = min(max(wanted, least), most)
    places: dict[bool, list[int]] = {True: [], False: []}
    for i, layer in enumerate(layers):
        places[layer.is_first].append(i)
    return [Group(places[False], masked - of_first), Group(places[True], of_first)]


def _masked(sparsity: float, layers: list[_Layer]) -> int:
    """How many weights of some layers are masked together."""
    wanted = round(sparsity * sum(layer.size for layer in layers))
    return min(max(wanted, sum(layer.least for layer in layers)), sum(layer.most for layer in layers))
