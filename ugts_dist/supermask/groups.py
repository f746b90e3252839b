"""Which weights share a threshold, and how many of them are masked at a sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ugts_dist.supermask.form import Form
from ugts_dist.supermask.frozen import frozen_counts
from ugts_dist.supermask.recipe import Options


class Group(NamedTuple):
    """Weights that share a threshold: the indices of their layers, and the number of weights to mask."""

    places: list[int]
    masked: int


@dataclass(frozen=True)
class Plan:
    """What is masked at one sparsity.

    Attributes:
        groups: the global one comes first; with input layers, that of the other layers.
        least_kept: how many weights each layer keeps, whatever the threshold of its group.
    """

    groups: list[Group]
    least_kept: list[int]


def plan(sparsity: float, sizes: Mapping[str, int], options: Options) -> Plan:
    """The groups for weights with these names and sizes. Pruned weights are always masked, locked ones never."""
    form = options.form
    layers = [_layer(sparsity, name, size, options, form) for name, size in sizes.items()]
    return Plan(_groups(sparsity, layers, options), [layer.least_kept for layer in layers])


class _Layer(NamedTuple):
    """A weight tensor.

    Attributes:
        least_kept: how many weights it keeps, whatever the threshold; 0 for an input layer.
        least, most: how many weights can be masked, without regard to `least_kept`.
    """

    size: int
    is_input: bool
    least_kept: int
    least: int
    most: int


def _layer(sparsity: float, name: str, size: int, options: Options, form: Form) -> _Layer:
    pruned, locked = frozen_counts(size, form)
    is_input = name in options.input_layers
    least_kept = 0 if is_input else int(options.min_layer_density * (1.0 - sparsity) * size + 1e-6)
    return _Layer(size, is_input, min(least_kept, size - pruned), pruned, size - locked)


def _groups(sparsity: float, layers: list[_Layer], options: Options) -> list[Group]:
    if options.scope == "layer":
        return [Group([i], _masked(sparsity, [layer])) for i, layer in enumerate(layers)]
    masked = _masked(sparsity, layers)
    of_kind = [[i for i, layer in enumerate(layers) if layer.is_input == is_input] for is_input in (False, True)]
    rest, inputs = ([layers[i] for i in places] for places in of_kind)
    if not inputs:
        return [Group(of_kind[0], masked)]
    wanted = min(round(options.input_sparsity * sum(layer.size for layer in inputs)), masked)
    of_rest = sum(min(layer.most, layer.size - layer.least_kept) for layer in rest)
    least = max(masked - of_rest, sum(layer.least for layer in inputs))
    most = min(sum(layer.most for layer in inputs), masked - sum(layer.least for layer in rest))
    of_inputs = min(max(wanted, least), most)
    return [Group(of_kind[0], masked - of_inputs), Group(of_kind[1], of_inputs)]


def _masked(sparsity: float, layers: list[_Layer]) -> int:
    """Number of weights to mask in some layers together."""
    wanted = round(sparsity * sum(layer.size for layer in layers))
    return min(max(wanted, sum(layer.least for layer in layers)), sum(layer.most for layer in layers))
