"""The form of a supermask: binary, multicoated, signed or partially frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from reprlib import repr as short
from typing import Any

from ugts_dist.supermask import arguments

MAX_COATS = 64


@dataclass(frozen=True)
class Form:
    """The values that a supermask can have. Raises ValueError for options that are not allowed.

    Attributes:
        coats: number of nested thresholds. The mask is the number that a score reaches: 0 to `coats`. 1: binary.
        signed: kept weights are multiplied by the sign of their score.
        pruned, locked: fractions of each weight tensor, drawn from the seed, that are always masked and always kept.
    """

    coats: int = 1
    signed: bool = False
    pruned: float = 0.0
    locked: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "coats", arguments.whole("coats", self.coats, 1, MAX_COATS))
        arguments.flag("signed", self.signed)
        for name in ("pruned", "locked"):
            object.__setattr__(self, name, arguments.fraction(name, getattr(self, name), below_one=True))
        if self.pruned + self.locked >= 1.0:
            allowed = f"less than 1 - pruned, which is {1.0 - self.pruned:g}"
            raise ValueError(f"locked is {self.locked:g}, allowed is {allowed}")

    @property
    def is_usual(self) -> bool:
        """Whether this is the paper's form: a binary mask without frozen weights."""
        return self == Form()

    @property
    def is_binary(self) -> bool:
        """Whether the mask has no other values than 0 and 1."""
        return self.coats == 1 and not self.signed

    @property
    def is_frozen(self) -> bool:
        """Whether some weights are always masked or always kept."""
        return self.pruned > 0.0 or self.locked > 0.0

    @property
    def num_masks(self) -> int:
        """Number of boolean masks that a file stores for each weight."""
        return self.coats + self.signed

    def to_json(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        default = asdict(Form())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @classmethod
    def from_json(cls, held: Any) -> Form:
        """Inverse of `to_json`. Raises ValueError for anything that it does not return, and for the default form."""
        names = {field.name for field in fields(cls)}
        if not isinstance(held, Mapping) or not held or held.keys() - names:
            raise ValueError(f"form is {short(held)}, allowed is an object with some of {', '.join(sorted(names))}")
        form = cls(**held)
        if form.to_json() != held:
            raise ValueError(f"form is {short(held)}, allowed are values that are not the default")
        return form
