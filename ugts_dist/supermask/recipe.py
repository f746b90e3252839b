"""Recipe and options of masked weights: the arguments of `sparsify` that belong to a model's state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ugts_dist.supermask import arguments
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.weights import Init, random_tensor

Scope = Literal["global", "layer"]
Ranking = Literal["score", "magnitude"]
MAX_GAIN = 2.0**64  # and the least is its inverse; with MAX_SCALE every weight stays finite in float32
_MAX_STATE = 2**24  # bytes
_FORM = {field.name for field in fields(Form)}
# A `state_dict` keeps these options under their old names, so that its bytes and older checkpoints stay valid.
_STORED = {"min_layer_density": "floor", "input_layers": "first", "input_sparsity": "first_sparsity"}
_CURRENT = {old: new for new, old in _STORED.items()}


@dataclass(frozen=True)
class Recipe:
    """How the frozen weights are drawn: with mask and gains all that a ticket needs.

    Attributes:
        fold: groups of names of weights that share random values; those of the first name are used.
    """

    seed: int
    weight_init: Init = "kaiming-uniform"
    fold: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", arguments.seed("seed", self.seed))
        arguments.one_of("weight_init", self.weight_init, get_args(Init))
        if isinstance(self.fold, str) or not hasattr(self.fold, "__iter__"):
            raise arguments.refused("fold", self.fold, "a collection of groups of names")
        groups = tuple(arguments.names("fold", group) for group in self.fold)
        object.__setattr__(self, "fold", groups)
        names = [name for group in groups for name in group]
        if len({*names}) < len(names) or any(len(group) < 2 for group in groups):
            raise arguments.refused("fold", groups, "groups of two or more names, each of them once")

    def draw(self, name: str, shape: torch.Size) -> Tensor:
        """The random values of a weight, float32 on the CPU, before any gain."""
        first = next((group[0] for group in self.fold if name in group), name)
        return random_tensor(self.seed, "weight", first, shape, self.weight_init)

    def check_fold(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raise ValueError for names in `fold` that are no weights, and for groups of weights of several shapes."""
        for group in self.fold:
            arguments.known("fold", group, shapes)
            for name in group[1:]:
                if tuple(shapes[name]) != tuple(shapes[group[0]]):
                    text = f"{group[0]} {tuple(shapes[group[0]])} with {name} {tuple(shapes[name])}"
                    raise ValueError(f"fold has {text}, allowed are weights of one shape")

    def to_dict(self) -> dict[str, Any]:
        """Plain values. Without groups the key `fold` is left out, as in older files."""
        held = asdict(self)
        return held if self.fold else {name: value for name, value in held.items() if name != "fold"}


@dataclass(frozen=True)
class Options:
    """The options that turn scores into masks; see `sparsify`. Raises ValueError for values that are not allowed.

    Attributes:
        rank: the name of the function that ranks scores; empty without one.
    """

    scope: Scope = "global"
    rescale: bool = False
    ranking: Ranking = "score"
    min_layer_density: float = 0.0
    input_layers: tuple[str, ...] = ()
    input_sparsity: float = 0.0
    coats: int = 1
    signed: bool = False
    pruned: float = 0.0
    locked: float = 0.0
    rank: str = ""

    def __post_init__(self) -> None:
        arguments.one_of("scope", self.scope, get_args(Scope))
        arguments.flag("rescale", self.rescale)
        arguments.one_of("ranking", self.ranking, get_args(Ranking))
        density = arguments.fraction("min_layer_density", self.min_layer_density, below_one=False)
        object.__setattr__(self, "min_layer_density", density)
        object.__setattr__(self, "input_layers", arguments.names("input_layers", self.input_layers))
        sparsity = arguments.fraction("input_sparsity", self.input_sparsity, below_one=True)
        object.__setattr__(self, "input_sparsity", sparsity)
        for name, value in vars(self.form).items():  # as plain numbers
            object.__setattr__(self, name, value)
        if self.signed and self.ranking != "magnitude":
            raise ValueError(f"ranking is {self.ranking!r}, allowed is 'magnitude' for signed masks")

    @property
    def form(self) -> Form:
        """The values that the masks can have."""
        return Form(self.coats, self.signed, self.pruned, self.locked)

    def to_dict(self) -> dict[str, Any]:
        """Every option, as a `state_dict` stores it; of form and rank only what is not the default."""
        held = {_STORED.get(name, name): value for name, value in asdict(self).items() if name not in _FORM}
        return {name: value for name, value in held.items() if name != "rank" or value} | self.form.to_json()

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Options:
        """The inverse of `to_dict`. Raises ValueError for values that are not allowed, TypeError for unknown names."""
        return cls(**{_CURRENT.get(name, name): value for name, value in held.items()})


@dataclass(frozen=True)
class WeightState:
    """What a `state_dict` stores of one masked weight in addition to its tensors: recipe, options and gain."""

    recipe: Recipe
    options: Options
    gain: float

    def to_tensor(self) -> Tensor:
        """JSON as bytes. As a tensor, torch (`weights_only`) and safetensors store it, and no `.to()` rounds it."""
        held = self.recipe.to_dict() | self.options.to_dict() | {"gain": self.gain.hex()}
        return torch.frombuffer(bytearray(json.dumps(held).encode()), dtype=torch.uint8).clone()

    @classmethod
    def from_tensor(cls, tensor: Any) -> WeightState:
        """Inverse of `to_tensor`. Raises ValueError for any other tensor."""
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.uint8 or tensor.numel() > _MAX_STATE:
            raise ValueError("it is not a tensor of bytes")
        try:
            held = json.loads(tensor.cpu().numpy().tobytes())
            gain = check_gain(float.fromhex(held.pop("gain")))
            recipe = Recipe(held.pop("seed"), held.pop("weight_init"), held.pop("fold", ()))
            return cls(recipe, Options.from_dict(held), gain)
        except (AttributeError, KeyError, TypeError, OverflowError, RecursionError, UnicodeDecodeError) as error:
            raise ValueError(f"it is not what sparsify wrote ({type(error).__name__}: {error})") from None

    def differences(self, other: WeightState) -> list[str]:
        """The differences of recipe and options, as texts: "seed 1 (here 0)"."""
        ours, theirs = (asdict(state.recipe) | asdict(state.options) for state in (self, other))
        return [f"{name} {theirs[name]!r} (here {ours[name]!r})" for name in ours if ours[name] != theirs[name]]


def check_gain(gain: float) -> float:
    """Check that a gain leaves the weights finite and nonzero in float32. Raises ValueError otherwise."""
    if not 1.0 / MAX_GAIN <= abs(gain) <= MAX_GAIN:  # false for NaN
        raise ValueError(f"gain is {gain:g}, allowed is a number of magnitude 2^-64 to 2^64")
    return gain
