"""Summary of a ticket in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ugts_dist.checkpointing.provenance import shown_provenance
from ugts_dist.config_names import current_sections
from ugts_dist.supermask import Ticket
from ugts_dist.supermask.coding import Mask, entropy_bytes


@dataclass(frozen=True)
class Layer:
    """One masked weight.

    Attributes:
        density: fraction of kept values.
        entropy_bytes: minimum average size of a code for masks with independent values of these frequencies.
        levels: number of weights for each value of a mask that is not binary.
        gain, scale: factors of its random values and of its kept values.
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    kept: int
    density: float
    entropy_bytes: float
    gain: float
    scale: float
    levels: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """A ticket and its file.

    Attributes:
        dense_bytes: size of all weights and unmasked tensors, with weights in float32.
        entropy_bytes: the sum over the layers.
        form: of masks that differ from the usual form.
        fold: groups of weights that share random values.
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
    form: dict[str, Any]
    fold: list[list[str]]
    fingerprint: str
    layers: list[Layer]
    metrics: dict[str, float]
    provenance: dict[str, Any]
    config: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(ticket: Ticket, path: Path) -> Summary:
    """The summary of a ticket that was read from a file."""
    layers = [_layer(ticket, name, masks) for name, masks in ticket.bit_masks().items()]
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
        form=ticket.form.to_json(),
        fold=[list(group) for group in ticket.recipe.fold],
        fingerprint=ticket.fingerprint,
        layers=layers,
        metrics=ticket.metrics,
        provenance=shown_provenance(ticket.provenance),
        config=current_sections(ticket.config),
    )


def _layer(ticket: Ticket, name: str, masks: list[Mask]) -> Layer:
    kept = ticket.masks[name]
    bound = entropy_bytes([mask.size for mask in masks], [int(mask.sum()) for mask in masks])
    density = int(kept.sum()) / max(1, kept.numel())
    return Layer(
        name,
        tuple(kept.shape),
        kept.numel(),
        int(kept.sum()),
        density,
        bound,
        ticket.gains[name],
        ticket.scales[name],
        _frequencies(ticket, name),
    )


def _frequencies(ticket: Ticket, name: str) -> dict[str, int]:
    if ticket.form.is_binary:
        return {}
    values, counts = ticket.levels[name].unique(return_counts=True)
    return {str(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}
