"""The parametrization that masks one frozen weight by its trained scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ugts_dist.supermask.coats import count_reached, thresholds_of
from ugts_dist.supermask.recipe import Options, Recipe, WeightState

Rank = Callable[[Tensor], Tensor]
_STATE = "_extra_state"  # torch's name for what `get_extra_state` returns


class _MaskWeight(torch.autograd.Function):
    """Straight-through estimator.

    Forward: `scale * weight * (score >= threshold)`. With coats, the comparison is the number of thresholds that the
    score reaches. With signed masks, it is the number that its magnitude reaches, times the sign of the score. A gain
    that the weight does not include yet is multiplied first.

    Backward: `grad * scale * weight` for every score, whether masked or not.
    """

    @staticmethod
    def forward(
        weight: Tensor, score: Tensor, threshold: Tensor, scale: Tensor, magnitude: Tensor | None, gain: float | None
    ) -> Tensor:
        weight = weight if gain is None else weight * gain
        # The last product is not in place: compiled by torch 2.11, an in-place product would return no gradient.
        return _values(score, threshold, magnitude).mul_(weight) * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[3])
        ctx.gain = inputs[5]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None, None]:
        weight, scale = ctx.saved_tensors
        gradient = (grad * weight).mul_(scale)
        return None, gradient if ctx.gain is None else gradient.mul_(ctx.gain), None, None, None, None


def _values(score: Tensor, threshold: Tensor, magnitude: Tensor | None) -> Tensor:
    """The mask as floats. `magnitude`: the score's magnitude for signed masks, otherwise None."""
    if magnitude is None:
        return count_reached(score, threshold)
    level = count_reached(magnitude, threshold)
    return torch.copysign(level, score, out=level)


class MaskedWeight(nn.Module):
    """Parametrization of one frozen weight. It holds the score, the threshold, the gain and the recipe of the weight.

    It is registered with `torch.nn.utils.parametrize`, so that a layer that reads its `weight` gets the masked weight.
    The model's `state_dict` holds all of it. The threshold is a scalar, or `[coats]` in ascending order.
    """

    threshold: Tensor
    scale: Tensor
    frozen: Tensor | None

    def __init__(
        self, score: Tensor, recipe: Recipe, options: Options, frozen: Tensor | None, rank: Rank | None = None
    ) -> None:
        super().__init__()
        self.score = nn.Parameter(score)
        self.recipe = recipe
        self.options = options
        self.gain = 1.0
        self.is_folded = False  # if True, the weight is shared and comes without its gain
        self.by_magnitude = options.ranking == "magnitude"
        self.rank = rank
        self.signed = options.signed
        self.register_buffer("threshold", score.new_full((), _lowest_threshold(frozen)))
        if options.coats > 1:  # before the first step every mask value is 1
            self.threshold = torch.cat([self.threshold[None], score.new_full((options.coats - 1,), torch.inf)])
        self.register_buffer("scale", score.new_ones(()))
        self.register_buffer("frozen", frozen, persistent=False)  # it is drawn from the seed

    def ranked(self) -> Tensor:
        """What is compared with the threshold: the score, its magnitude (as in the original Edge-Popup), or the result
        of `rank`. It is infinite for frozen weights."""
        ranked = self.score.abs() if self.by_magnitude else self.score
        ranked = ranked if self.rank is None else self.rank(ranked)
        return ranked if self.frozen is None else ranked + self.frozen

    def mask(self) -> Tensor:
        """The boolean supermask, in the weight's shape."""
        return self.ranked().detach() >= thresholds_of(self.threshold)[0]

    @torch.no_grad()
    def levels(self) -> Tensor:
        """The mask's values, int8, in the weight's shape."""
        return _values(*self._inputs()).to(torch.int8)

    def forward(self, weight: Tensor) -> Tensor:
        score, threshold, magnitude = self._inputs()
        gain = self.gain if self.is_folded else None
        return _MaskWeight.apply(weight, score, threshold, self.scale, magnitude, gain)

    def _inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments of `_values`. The gradient goes to the first."""
        if self.signed:
            score = self.score if self.frozen is None else self.score + self.frozen  # locked scores are positive
            return score, self.threshold, self.ranked().detach()
        return self.ranked(), self.threshold, None

    def get_extra_state(self) -> Tensor:
        """Recipe, options and gain, as bytes."""
        return self._state.to_tensor()

    def set_extra_state(self, state: Any) -> None:
        """Set the gain. `check_state` has found the same recipe and options before."""
        self.gain = WeightState.from_tensor(state).gain

    def check_state(self, name: str, state: Any) -> None:
        """Raise ValueError for a state that is damaged, or has another recipe or other options."""
        try:
            differences = self._state.differences(WeightState.from_tensor(state))
        except ValueError as error:
            raise ValueError(f"state of {name} is damaged: {error}") from None
        if differences:
            raise ValueError(
                f"state of {name} has {', '.join(differences)}; allowed is the state of a model that was sparsified "
                f"with the same arguments"
            )

    @property
    def _state(self) -> WeightState:
        return WeightState(self.recipe, self.options, self.gain)


def _lowest_threshold(frozen: Tensor | None) -> float:
    """A threshold that every score reaches but those of pruned weights."""
    return -torch.inf if frozen is None else torch.finfo(frozen.dtype).min


def refuse_other_states(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hook of a module before it loads a state. Raises ValueError for a state of other weights, before any loading."""
    for name, child in module.named_modules(prefix=prefix.removesuffix("."), remove_duplicate=False):
        if isinstance(child, MaskedWeight) and f"{name}.{_STATE}" in state_dict:
            child.check_state(name.removesuffix(".0").replace("parametrizations.", ""), state_dict[f"{name}.{_STATE}"])
