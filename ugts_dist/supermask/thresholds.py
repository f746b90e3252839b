"""The thresholds and scales of all masked weights of a model, set together from what they must reach."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.supermask.masked_weight import MaskedWeight
from ugts_dist.supermask.reached import num_kept, unprotected
from ugts_dist.supermask.recipe import Options
from ugts_dist.supermask.targets import Targets, group_of_layer
from ugts_dist.supermask.threshold import Segments, kth_smallest, to_device

T = TypeVar("T")


class Thresholds:
    """Sets the thresholds of some weights.

    All that depends on no score is made once, so that a recorded step finds it on its device.
    """

    def __init__(
        self, weights: list[MaskedWeight], options: Options, process_group: dist.ProcessGroup | None = None
    ) -> None:
        self._weights, self._options, self._process_group = weights, options, process_group
        self._made: dict[Hashable, object] = {}

    def set(self, targets: Targets) -> Tensor:
        """Set thresholds and scales. Returns the threshold of each group, `[num_plans, num_groups]`."""
        ranked = [weight.ranked().detach() for weight in self._weights]
        protected = self._protected(ranked, targets)
        of_groups = self._of_groups(ranked, targets, protected)
        own = self._of_layers(of_groups, targets)
        self._set(ranked, own if protected is None else torch.minimum(own, protected))
        return of_groups

    def _of_groups(self, ranked: list[Tensor], targets: Targets, protected: Tensor | None) -> Tensor:
        """The threshold of each group in each plan, `[num_plans, num_groups]`."""
        groups = []
        for number, one in enumerate(targets.groups):
            left = ranked if protected is None else self._unprotected(ranked, protected[number])
            groups += [[left[i] for i in places] for places in one]
        return self._smallest(groups, targets.ranks).view(len(targets.groups), -1)

    def _of_layers(self, of_groups: Tensor, targets: Targets) -> Tensor:
        """Each layer's threshold in each plan, `[num_plans, num_layers]`; infinite if its whole group is masked."""
        device = of_groups.device
        if of_groups.shape[1] == 1:
            own = of_groups.expand(-1, len(self._weights))
        else:
            key = (device, targets.groups)
            own = of_groups.gather(1, self._once(key, lambda: group_of_layer(targets.groups, device)))
        return own if targets.emptied is None else own.masked_fill(targets.emptied, torch.inf)

    def _protected(self, ranked: list[Tensor], targets: Targets) -> Tensor | None:
        """The lowest score that `min_layer_density` keeps in each layer, `[num_plans, num_layers]`; None if it is 0."""
        if targets.kept_ranks is None:
            return None
        groups = [[score] for score in ranked * len(targets.groups)]
        least = self._smallest(groups, targets.kept_ranks).view(len(targets.groups), -1)
        return least if targets.unkept is None else least.masked_fill(targets.unkept, torch.inf)

    def _unprotected(self, ranked: list[Tensor], protected: Tensor) -> list[Tensor]:
        """The scores of each layer, infinite where they reach its threshold in `protected` `[num_layers]`."""
        left = unprotected(ranked, protected, self._sizes(protected.device))
        return list(left.split([score.numel() for score in ranked]))

    def _smallest(self, groups: Sequence[Sequence[Tensor]], ranks: Tensor) -> Tensor:
        """`kth_smallest`, with what a GPU needs to sort several groups at once."""
        device = ranks.device
        if len(groups) == 1 or device.type == "cpu" or self._process_group is not None:
            return kth_smallest(groups, ranks, self._process_group)
        sizes = tuple(sum(score.numel() for score in group) for group in groups)
        segments = self._once((device, sizes), lambda: Segments.of(sizes, device))
        return kth_smallest(groups, ranks, segments=segments)

    def _set(self, ranked: list[Tensor], thresholds: Tensor) -> None:
        """Set all layers at once, from `[coats, num_layers]`: on a GPU each kernel costs more to start than to run."""
        # Rounding in `min_layer_density` can put a coat's threshold one score below that of the coat before.
        coats = thresholds if self._options.coats == 1 else thresholds.cummax(0).values
        own = coats[0] if self._options.coats == 1 else coats.T
        torch._foreach_copy_([weight.threshold for weight in self._weights], list(own.unbind()))
        if self._options.rescale:
            sizes = self._sizes(coats.device)
            squares = self._sums_of_squares(ranked, coats, sizes).float().clamp(min=1)
            # For a binary mask this is density^-1/2, so that a layer's outputs keep their scale as it becomes sparser.
            scales = (squares.reciprocal() * sizes).sqrt()
            torch._foreach_copy_([weight.scale for weight in self._weights], list(scales.unbind()))

    def _sums_of_squares(self, ranked: list[Tensor], coats: Tensor, sizes: Tensor) -> Tensor:
        """The sum of each mask's squared values, `[num_layers]`. For a binary mask: the number of weights it keeps."""
        total, *others = (num_kept(ranked, coat, sizes) for coat in coats.unbind())
        for coat, count in enumerate(others, 1):
            total = total + (2 * coat + 1) * count  # n^2 is the sum of the first n odd numbers
        return total

    def _sizes(self, device: torch.device) -> Tensor:
        """The number of weights of each layer, int64 `[num_layers]`; made once."""
        numbers = [weight.score.numel() for weight in self._weights]
        return self._once(device, lambda: to_device(numbers, torch.int64, device))

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned when it was first called for this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]
