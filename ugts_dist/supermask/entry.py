"""One masked weight of a model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils import parametrize

from ugts_dist.supermask.masked_weight import MaskedWeight
from ugts_dist.supermask.recipe import Recipe
from ugts_dist.supermask.sites import Site


@dataclass
class Entry:
    """One masked weight: its place in the model, and its parametrization."""

    site: Site
    masked: MaskedWeight

    @property
    def weight(self) -> Tensor:
        """The frozen weight before masking. Raises ValueError if the mask was removed."""
        return self.original * self.masked.gain if self.masked.is_folded else self.original

    @property
    def original(self) -> Tensor:
        """The tensor in memory: the weight with its gain, or without it if the weight is folded."""
        place = self.site.places[0]
        if not parametrize.is_parametrized(place.module, place.attribute):
            raise ValueError(f"{self.site.name} is no longer masked: use the mask before remove_parametrizations")
        return place.original

    def share(self, first: Entry) -> None:
        """Use the values of another weight, which have no gain yet."""
        self.site.places[0].share(first.site.places[0])
        self.masked.is_folded = first.masked.is_folded = True

    def regenerated(self, recipe: Recipe) -> Tensor:
        """The weight drawn again from its seed and gain, as a ticket does it, on the weight's device."""
        weight = self.original
        return recipe.draw(self.site.name, weight.shape).to(weight.device) * self.masked.gain
