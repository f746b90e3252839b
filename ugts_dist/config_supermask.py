"""The section [supermask] of a configuration: method, sparsity, masks, initialisation, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ugts_dist.config_limits import MAX_COATS, MAX_SEED, require, require_count, require_scale
from ugts_dist.methods import METHODS, Ramp, Scope

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

_METHODS_HELP = " ".join(f"{name}: {method.summary}." for name, method in METHODS.items())


@dataclass(frozen=True)
class SupermaskConfig:
    """How the ticket is searched."""

    method: Annotated[MethodName, tyro.conf.arg(help=_METHODS_HELP)] = "ugts"
    """One of `METHODS`: what is compared with which threshold, and how the sparsity rises."""
    sparsity: float = 0.9
    """Target sparsity: the fraction of weights masked to zero."""
    initial_sparsity: float = 0.0
    """Sparsity at which a rising schedule begins. For a run that starts from another run's scores: that run's
    sparsity."""
    scope: Literal["auto", "global", "layer"] = "auto"
    """One threshold for all layers, or one per layer. auto: as the method has it."""
    schedule: Literal["auto", "linear", "cubic", "constant"] = "auto"
    """How the sparsity rises. auto: as the method has it."""
    ramp: float = 0.5
    """Fraction of the epochs over which the sparsity rises (0.5: it reaches its target halfway, as in the paper)."""
    seed: int = -1
    """Seed of the frozen weights and initial scores. -1: the run's seed."""
    weight_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "balanced", "uniform"] = (
        "signed-constant"
    )
    """Distribution of the frozen weights. balanced: constant magnitude, and each output has as many positive as
    negative weights, which deep networks need."""
    score_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "balanced", "uniform"] = (
        "kaiming-uniform"
    )
    """Distribution of the initial scores."""
    score_scale: float = 1.0
    """Factor on the initial scores."""
    rescale: bool = True
    """Multiply each layer's kept weights by density^-1/2, so that its outputs keep their scale as the layer becomes
    sparser."""
    ranking: Literal["score", "magnitude"] = "score"
    """What is compared with the threshold: the score, or its magnitude as in the original Edge-Popup."""
    coats: int = 1
    """Number of nested thresholds on each score (multicoated supermasks). A weight counts once for each threshold that
    its score reaches. The thresholds' sparsities are evenly spaced between the target and 1. 1: a binary mask."""
    signed: bool = False
    """Signed supermasks: each kept weight is multiplied by the sign of its score. Needs ranking magnitude."""
    pruned: float = 0.0
    """Fraction of each layer's weights that is masked permanently, drawn from the seed. A ticket stores no bits for
    these weights, and they count towards the sparsity."""
    locked: float = 0.0
    """Fraction of each layer's weights that is kept permanently, drawn from the seed."""
    fold: bool = False
    """Share random weights between convolutions of equal shape. Each convolution has its own scores and mask."""
    min_layer_density: float = 0.0
    """Lowest density of a layer, as a fraction of the target density 1 - sparsity. 0: no limit, as in the paper. 1: the
    same density in every layer."""
    input_sparsity: float = 0.0
    """Sparsity of the input layers, the weights that read the features, with their own threshold. They are masked
    first, up to this sparsity. Useful if features are many and labels few. 0: one threshold for all layers, as in the
    paper."""
    calibrate: bool = True
    """Scale each layer's frozen weights once, before training, so that its outputs have root mean square 1."""
    calibrate_at: float = 0.0
    """Sparsity at which calibration measures the outputs."""
    output_rms: float = 0.1
    """Root mean square of the logits after calibration."""
    attention_rms: float = 0.01
    """Root mean square of the attention logits after calibration; small, because random attention is only noise."""

    def __post_init__(self) -> None:
        require(0.0 <= self.sparsity < 1.0, "supermask.sparsity", self.sparsity, "[0, 1)")
        require(0.0 <= self.initial_sparsity < 1.0, "supermask.initial_sparsity", self.initial_sparsity, "[0, 1)")
        require(0.0 <= self.calibrate_at < 1.0, "supermask.calibrate_at", self.calibrate_at, "[0, 1)")
        require(0.0 <= self.ramp <= 1.0, "supermask.ramp", self.ramp, "[0, 1]")
        require(0.0 <= self.min_layer_density <= 1.0, "supermask.min_layer_density", self.min_layer_density, "[0, 1]")
        require_count("supermask.coats", self.coats, 1, MAX_COATS)
        self._check_frozen()
        if self.signed:
            allowed = "magnitude, as supermask.signed is true"
            require(self.ranking == "magnitude", "supermask.ranking", self.ranking, allowed)
        require(0.0 <= self.input_sparsity < 1.0, "supermask.input_sparsity", self.input_sparsity, "[0, 1)")
        if self.effective_scope == "layer":
            allowed = "0 with a threshold for each layer"
            require(self.input_sparsity == 0.0, "supermask.input_sparsity", self.input_sparsity, allowed)
        require_scale("supermask.score_scale", self.score_scale)
        require_scale("supermask.attention_rms", self.attention_rms)
        require_scale("supermask.output_rms", self.output_rms)
        require(-1 <= self.seed <= MAX_SEED, "supermask.seed", self.seed, f"0 to {MAX_SEED}, or -1")

    def _check_frozen(self) -> None:
        allowed = f"0 to supermask.sparsity, {self.sparsity:g}"
        require(0.0 <= self.pruned <= self.sparsity, "supermask.pruned", self.pruned, allowed)
        require(0.0 <= self.locked < 1.0, "supermask.locked", self.locked, "[0, 1)")
        for name in ("sparsity", "initial_sparsity", "calibrate_at"):
            value = getattr(self, name)
            allowed = f"0 to 1 - supermask.{name}, {1.0 - value:g}"
            require(self.locked <= 1.0 - value + 1e-9, "supermask.locked", self.locked, allowed)
        allowed = f"less than 1 - supermask.pruned, {1.0 - self.pruned:g}"
        require(self.pruned + self.locked < 1.0, "supermask.locked", self.locked, allowed)

    @property
    def effective_scope(self) -> Scope:
        """The scope of the threshold; the method's own if `scope` is `auto`."""
        return METHODS[self.method].scope if self.scope == "auto" else self.scope

    @property
    def effective_schedule(self) -> Ramp:
        """How the sparsity rises; as the method has it if `schedule` is `auto`."""
        return METHODS[self.method].schedule if self.schedule == "auto" else self.schedule

    @property
    def masks(self) -> bool:
        """Whether weights are masked: a ticket is searched, not a dense network trained."""
        return METHODS[self.method].masks
