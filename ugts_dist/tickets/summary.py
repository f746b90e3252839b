"""What a ticket is, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ugts_dist.supermask import Ticket


@dataclass(frozen=True)
class Layer:
    """One masked weight.

    Attributes:
        density: fraction of it that is kept.
        entropy_bytes: the least that a code can take, on average, for a mask whose bits are independent and set with
            this density.
        gain, scale: what its random values, and what is kept of them, are multiplied by.
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    kept: int
    density: float
    entropy_bytes: float
    gain: float
    scale: float


@dataclass(frozen=True)
class Summary:
    """A ticket and its file.

    Attributes:
        dense_bytes: of all weights and unmasked tensors, the weights in float32.
        entropy_bytes: the sum over the layers.
    """

    path: str
    sparsity: float
    weights: int
    kept: int
    file_bytes: int
    dense_bytes: int
    entropy_bytes: float
    seed: int
    weight_init: str
    fingerprint: str
    layers: list[Layer]
    metrics: dict[str, float]
    provenance: dict[str, Any]
    config: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(ticket: Ticket, path: Path) -> Summary:
    """The summary of a ticket that was read from a file."""
    layers = [_layer(ticket, name) for name in ticket.masks]
    weights, kept = sum(layer.weights for layer in layers), sum(layer.kept for layer in layers)
    unmasked = sum(value.numel() * value.element_size() for value in ticket.unmasked.values())
    return Summary(
        path=str(path),
        sparsity=ticket.sparsity,
        weights=weights,
        kept=kept,
        file_bytes=path.stat().st_size,
        dense_bytes=4 * weights + unmasked,
        entropy_bytes=sum(layer.entropy_bytes for layer in layers),
        seed=ticket.recipe.seed,
        weight_init=ticket.recipe.weight_init,
        fingerprint=ticket.fingerprint,
        layers=layers,
        metrics=ticket.metrics,
        provenance=ticket.provenance,
        config=ticket.config,
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: {"model": {"depth": 2}} is {"model.depth": 2}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _layer(ticket: Ticket, name: str) -> Layer:
    mask = ticket.masks[name]
    weights, kept = mask.numel(), int(mask.sum())
    density = kept / max(1, weights)
    bits = weights * _entropy(density)
    return Layer(name, tuple(mask.shape), weights, kept, density, bits / 8, ticket.gains[name], ticket.scales[name])


def _entropy(p: float) -> float:
    """Bits that tell which of two events happened, of which one has this probability."""
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
