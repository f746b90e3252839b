"""In what two tickets of the same shapes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugts_dist.checkpointing.provenance import shown_provenance
from ugts_dist.config import flat
from ugts_dist.config_names import current_fields
from ugts_dist.errors import InputError
from ugts_dist.supermask import Ticket


@dataclass(frozen=True)
class Overlap:
    """The masks of one weight, or of all.

    Attributes:
        agreement: fraction of mask bits that are equal.
        jaccard: weights that both keep over those that either keeps; 1 where neither keeps any.
        jaccard_by_chance: what two random masks of these densities are expected to have.
    """

    name: str
    weights: int
    agreement: float
    jaccard: float
    jaccard_by_chance: float


@dataclass(frozen=True)
class Difference:
    """A value that differs between the tickets; None if one of them lacks it."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """Comparison of two tickets; `total` covers all weights, with their overall densities."""

    first: str
    second: str
    layers: list[Overlap]
    total: Overlap
    differences: list[Difference]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(first: Ticket, second: Ticket, names: tuple[Path, Path]) -> Comparison:
    """Compare two tickets that were read from the files `names`.

    Raises InputError if their weights have different names or shapes.
    """
    _check_shapes(first, second, names)
    counts = {name: _counts(mask, second.masks[name]) for name, mask in first.masks.items()}
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    return Comparison(
        str(names[0]),
        str(names[1]),
        [_overlap(name, *count) for name, count in counts.items()],
        _overlap("all", *total),
        list(_differences(first, second)),
    )


def _check_shapes(first: Ticket, second: Ticket, names: tuple[Path, Path]) -> None:
    shapes = [{name: tuple(mask.shape) for name, mask in ticket.masks.items()} for ticket in (first, second)]
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        texts = [f"of shape {shape[name]}" if name in shape else "absent" for shape in shapes]
        if texts[0] != texts[1]:
            allowed = "two tickets with weights of the same names and shapes"
            raise InputError(f"{names[1]}: {name} is {texts[1]}, in {names[0]} {texts[0]}; allowed are {allowed}")


def _counts(first: Tensor, second: Tensor) -> tuple[int, int, int, int]:
    """Number of weights, of those kept by the first, by the second, and by both."""
    return first.numel(), int(first.sum()), int(second.sum()), int((first & second).sum())


def _overlap(name: str, weights: int, first: int, second: int, both: int) -> Overlap:
    either = first + second - both
    p, q = first / weights, second / weights
    by_chance = p * q / (p + q - p * q) if either else 1.0
    return Overlap(name, weights, 1 - (either - both) / weights, both / either if either else 1.0, by_chance)


def _differences(first: Ticket, second: Ticket) -> Iterator[Difference]:
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("", vars(first.recipe), vars(second.recipe)),
        ("form ", vars(first.form), vars(second.form)),
        ("", {"fingerprint": first.fingerprint}, {"fingerprint": second.fingerprint}),
        ("shared ", first.shared, second.shared),
        ("gain ", first.gains, second.gains),
        ("scale ", first.scales, second.scales),
        ("", current_fields(flat(first.config)), current_fields(flat(second.config))),
        ("metric ", first.metrics, second.metrics),
        ("provenance ", flat(shown_provenance(first.provenance)), flat(shown_provenance(second.provenance))),
    ]
    for prefix, one, other in pairs:
        for name in dict.fromkeys((*one, *other)):
            if one.get(name) != other.get(name):
                yield Difference(prefix + name, one.get(name), other.get(name))
    yield from _values("level of ", first.levels, second.levels)
    yield from _values("unmasked ", first.unmasked, second.unmasked)


def _values(prefix: str, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Iterator[Difference]:
    for name in dict.fromkeys((*first, *second)):
        values = [side.get(name) for side in (first, second)]
        if None in values or not torch.equal(values[0], values[1]):  # type: ignore[arg-type]  # neither is None
            yield Difference(prefix + name, *("absent" if value is None else _description(value) for value in values))


def _description(value: Tensor) -> str:
    return f"shape {tuple(value.shape)}, mean {float(value.double().mean()):.6g}"
