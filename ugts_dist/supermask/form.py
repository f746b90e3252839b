"""The form of a supermask: binary, or with more values than 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from reprlib import repr as short
from typing import Any

from ugts_dist.supermask import arguments

MAX_COATS = 64


@dataclass(frozen=True)
class Form:
    """Which values a supermask has. Raises ValueError for any that is not allowed.

    Attributes:
        coats: a mask counts how many of so many nested thresholds a score reaches: 0 to `coats`. 1 is a binary mask.
        signed: what is kept has the sign of its score.
        pruned, locked: parts of each weight tensor, drawn from the seed, that are masked and that are kept for good.
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
        """Whether it is the paper's: a binary mask that scores decide everywhere."""
        return self == Form()

    @property
    def is_binary(self) -> bool:
        """Whether a mask tells no more than what is kept."""
        return self.coats == 1 and not self.signed

    @property
    def is_frozen(self) -> bool:
        """Whether there are weights whose scores have no say."""
        return self.pruned > 0.0 or self.locked > 0.0

    @property
    def num_masks(self) -> int:
        """By how many boolean masks a file tells the values of a weight."""
        return self.coats + self.signed

    def to_json(self) -> dict[str, Any]:
        """What is not the default."""
        default = asdict(Form())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @classmethod
    def from_json(cls, held: Any) -> Form:
        """Raises ValueError for anything that `to_json` does not give of a form that is not the usual one."""
        names = {field.name for field in fields(cls)}
        if not isinstance(held, Mapping) or not held or held.keys() - names:
            raise ValueError(f"form is {short(held)}, allowed is an object with some of {', '.join(sorted(names))}")
        form = cls(**held)
        if form.to_json() != held:
            raise ValueError(f"form is {short(held)}, allowed are values that are not the default")
        return form
