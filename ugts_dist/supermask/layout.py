"""Names and shapes of a model's tensors, which have to agree between a ticket and a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ugts_dist.supermask.sites import find_sites, plain_tensors

_NAMED = 4  # tensors that a message names; the others are only counted


@dataclass(frozen=True)
class Layout:
    """Names and shapes in a plain model.

    Attributes:
        weights: shape of each maskable weight, by its first name.
        shared: further names of these weights -> first name.
        unmasked: shape of every other parameter and buffer, under each of its names.
        tied: groups of names of the same unmasked tensor.
    """

    weights: dict[str, torch.Size]
    shared: dict[str, str]
    unmasked: dict[str, torch.Size]
    tied: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """The layout of a model. Raises ValueError if it can't be masked."""
        sites = find_sites(model)
        of_weights = {name for site in sites for name in site.names}
        unmasked = {name: value.shape for name, value in plain_tensors(model) if name not in of_weights}
        names: dict[int, list[str]] = {}
        for name, value in (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ):
            if name in unmasked:
                names.setdefault(id(value), []).append(name)
        return cls(
            {site.name: site.parameter.shape for site in sites},
            {name: site.name for site in sites for name in site.names[1:]},
            unmasked,
            tuple(tuple(several) for several in names.values() if len(several) > 1),
        )

    def check(self, weights: Mapping[str, Tensor], shared: Mapping[str, str], unmasked: Mapping[str, Tensor]) -> None:
        """Check that a ticket with these tensors fits. Raises ValueError, in one line that names the differences."""
        differences = [*_sharing(shared, self.shared), *self._names_and_shapes({**weights, **unmasked}, shared)]
        if not differences:
            differences += [
                f"{' and '.join(several)} are one tensor in the model, and several in the ticket"
                for several in self.tied
                if any(not _same(unmasked[several[0]], unmasked[name]) for name in several[1:])
            ]
        if differences:
            raise ValueError(f"the model does not fit the ticket: {'; '.join(differences)}")

    def _names_and_shapes(self, tensors: Mapping[str, Tensor], shared: Mapping[str, str]) -> Iterator[str]:
        wanted = self.weights | self.unmasked
        allowed = {*shared, *self.shared}
        missing = [name for name in wanted if name not in tensors and name not in allowed]
        extra = [name for name in tensors if name not in wanted and name not in allowed]
        other = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name]]
        if missing:
            yield f"the ticket has no {_listed(missing)}"
        if extra:
            yield f"the model has no {_listed(extra)}"
        if other:
            shapes = [f"{name} {tuple(tensors[name].shape)}, in the model {tuple(wanted[name])}" for name in other]
            yield f"the ticket has {_listed(shapes)}"
        for names, value in ((missing, False), (extra, True)):
            if names and all(name.rpartition(".")[2] == "bias" for name in names):
                yield f"build the model with bias={value}, as the ticket's was"


def _sharing(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*theirs, *ours)):
        if theirs.get(name) != ours.get(name):
            texts = [f"the same weight as {side[name]}" if name in side else "of its own" for side in (theirs, ours)]
            yield f"{name} is {texts[0]} in the ticket, and {texts[1]} in the model"


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())


def _listed(names: list[str]) -> str:
    left = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {left} more" if left > 0 else "")
