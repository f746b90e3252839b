"""What the thresholds of a step must reach, as tensors on the device of the scores.

All that differs between the steps of a run is here. A recorded step, which repeats the same operations, reads it from
its device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ugts_dist.supermask.coats import coat_sparsities
from ugts_dist.supermask.groups import Plan, plan
from ugts_dist.supermask.recipe import Options
from ugts_dist.supermask.threshold import to_device

Groups = tuple[tuple[tuple[int, ...], ...], ...]
"""In each plan the layers of each group."""


@dataclass(frozen=True, eq=False)
class Targets:
    """How many weights are masked at a sparsity.

    Attributes:
        groups: in each plan, of which there is one per coat, the layers of each group that shares a threshold.
        ranks: of the threshold among the scores of each group, int64 `[num_plans * num_groups]`.
        emptied: the layers of groups whose weights are all masked, bool `[num_plans, num_layers]`; None if there are
            none.
        kept_ranks: of the lowest score that `min_layer_density` keeps in each layer, int64 `[num_plans * num_layers]`;
            None if it keeps none.
        unkept: the layers in which it keeps none, bool `[num_plans, num_layers]`; None if there are none, too.
    """

    groups: Groups
    ranks: Tensor
    emptied: Tensor | None
    kept_ranks: Tensor | None
    unkept: Tensor | None

    @classmethod
    def of(cls, sparsity: float, sizes: Mapping[str, int], options: Options, device: torch.device) -> Targets:
        """The targets of weights with these names and sizes."""
        plans = [plan(own, sizes, options) for own in coat_sparsities(sparsity, options.coats)]
        layers = list(sizes.values())
        kept = [k for one in plans for k in one.least_kept]
        kept_ranks = [size - max(1, k) for size, k in zip(layers * len(plans), kept, strict=True)]
        return cls(
            tuple(tuple(tuple(group.places) for group in one.groups) for one in plans),
            to_device([rank for one in plans for rank in _ranks(one, layers)], torch.int64, device),
            _where([is_empty for one in plans for is_empty in _emptied(one, layers)], len(plans), device),
            to_device(kept_ranks, torch.int64, device) if any(kept) else None,
            _where([k == 0 for k in kept], len(plans), device) if any(kept) else None,
        )

    @property
    def structure(self) -> tuple[object, ...]:
        """What a recorded step depends on: targets with the same structure can replace each other's values."""
        return self.groups, *(getattr(self, name) is None for name in self._tensors())

    def copy_(self, other: Targets) -> None:
        """Take over the values of targets with the same structure."""
        assert self.structure == other.structure
        for name in self._tensors():
            value = getattr(self, name)
            if value is not None:
                value.copy_(getattr(other, name), non_blocking=True)

    def _tensors(self) -> list[str]:
        return [field.name for field in fields(self) if field.name != "groups"]


def group_of_layer(groups: Groups, device: torch.device) -> Tensor:
    """The group of each layer in each plan, int64 `[num_plans, num_layers]`."""
    of_layer = [{i: g for g, places in enumerate(plan) for i in places} for plan in groups]
    numbers = [one[i] for one in of_layer for i in range(len(one))]
    return to_device(numbers, torch.int64, device).view(len(groups), -1)


def _ranks(one: Plan, sizes: Sequence[int]) -> list[int]:
    """The place of each group's threshold in the order of its scores."""
    return [min(group.masked, sum(sizes[i] for i in group.places) - 1) for group in one.groups]


def _emptied(one: Plan, sizes: Sequence[int]) -> list[bool]:
    """Whether the group of each layer is masked as a whole."""
    of_layer = {i: group.masked == sum(sizes[k] for k in group.places) for group in one.groups for i in group.places}
    return [of_layer[i] for i in range(len(sizes))]


def _where(flags: list[bool], num_plans: int, device: torch.device) -> Tensor | None:
    return to_device(flags, torch.bool, device).view(num_plans, -1) if any(flags) else None
