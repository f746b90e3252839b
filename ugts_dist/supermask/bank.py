"""Several tickets on one backbone: the frozen weights are held once, and of each ticket little but its mask bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ugts_dist.supermask.layout import Layout
from ugts_dist.supermask.sites import Place, Site, find_sites
from ugts_dist.supermask.ticket import Ticket
from ugts_dist.supermask.weights import has_fingerprint

_SCALAR_BYTES = 8  # of a gain or a scale


class _BankedWeight(nn.Module):
    """Parametrization of one frozen weight, which holds the random values alone: masked by the bits of the ticket in
    use, which are unpacked when a layer reads the weight."""

    bits: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bits", None, persistent=False)
        self.gain = self.scale = 1.0

    def forward(self, weight: Tensor) -> Tensor:
        if self.bits is None:
            raise RuntimeError("no ticket is in use: call the bank, or the model within `with bank.using(name)`")
        # One product after the other and a choice, as in Ticket.apply: the same bits.
        if self.bits.dtype == torch.int8:  # the values of a mask that is not binary
            levels = self.bits.view(weight.shape)
            return torch.where(levels != 0, weight * self.gain * levels * self.scale, 0.0)
        return torch.where(_unpacked(self.bits, weight.shape), weight * self.gain * self.scale, 0.0)


@dataclass
class _Backbone:
    """One frozen weight that the tickets share, and what masks it wherever it is read."""

    place: Place
    banked: _BankedWeight

    @classmethod
    def install(cls, site: Site, weight: Tensor) -> _Backbone:
        """Write the random values, and let every reader of the weight get them masked."""
        banked = _BankedWeight()
        with torch.no_grad():
            site.parameter.copy_(weight)
        for place in site.places:
            # Unsafe only in that the parametrization is not tried here, when no ticket is in use.
            parametrize.register_parametrization(place.module, place.attribute, banked, unsafe=True)
        return cls(site.places[0], banked)

    def share(self, first: _Backbone) -> None:
        """Read the values that another weight has in memory."""
        self.place.module.parametrizations[self.place.attribute].original = first.weight  # type: ignore[union-attr,index]

    @property
    def weight(self) -> Tensor:
        """The random values."""
        return self.place.module.parametrizations[self.place.attribute].original  # type: ignore[union-attr,index]


@dataclass
class _Held:
    """All that is kept of one ticket, by name of the weight, parameter or buffer."""

    bits: dict[str, Tensor]
    gains: dict[str, float]
    scales: dict[str, float]
    unmasked: dict[str, Tensor]

    @classmethod
    def of(cls, ticket: Ticket) -> _Held:
        return cls(
            {name: _packed(mask) for name, mask in ticket.masks.items()} | deepcopy(ticket.levels),
            dict(ticket.gains),
            dict(ticket.scales),
            {name: value.detach().clone() for name, value in ticket.unmasked.items()},
        )

    def bytes(self) -> int:
        tensors = (*self.bits.values(), *self.unmasked.values())
        return sum(value.untyped_storage().nbytes() for value in tensors) + 2 * _SCALAR_BYTES * len(self.bits)


class TicketBank:
    """Any number of tickets of one architecture, seed and initialisation, switched per call.

    The results have the same bits as those of a model that `Ticket.apply` filled. A further ticket takes one bit a
    weight (a byte where its masks are not binary), two numbers a weight tensor, and its unmasked parameters and
    buffers; while a layer computes, its masked weight is in memory as well. `model.to(device)` moves the weights, and
    what is kept of a ticket follows when it is next used. The model is put into evaluation mode; where it is called in
    training mode all the same, what a forward pass changes in buffers (batch normalisation) lasts until a ticket is
    chosen again.

    A bank serves one caller at a time: threads need a lock around a call, or a bank each (`copy.deepcopy` makes one).
    """

    def __init__(self, model: nn.Module, tickets: Mapping[str, Ticket]) -> None:
        """
        Args:
            model: plain model of the tickets' architecture, on any device; changed in place.
            tickets: at least one, by any names.

        Raises: TypeError for arguments of other types. ValueError, in one line that names what differs, for tickets
        that do not fit the model or each other; the model is then left as it was.
        """
        if not isinstance(tickets, Mapping):
            raise TypeError(f"tickets is {type(tickets).__name__}, allowed is a mapping of names to tickets")
        for name, ticket in tickets.items():
            _require_ticket(name, ticket)
        if not tickets:
            raise ValueError("a bank of no tickets: at least one is needed, which tells the seed of the weights")
        self.model = model
        self._recipe = next(iter(tickets.values())).recipe
        self._in_use: list[str] = []  # one for each block that has not ended, the innermost last
        sites = find_sites(model)
        weights = {site.name: self._recipe.draw(site.name, site.parameter.shape) for site in sites}
        self._layout = Layout.of(model)
        self._places = {name: _place(model, name) for name in self._layout.unmasked}
        for name, ticket in tickets.items():
            self._check(name, ticket, weights)
        self._held = {name: _Held.of(ticket) for name, ticket in tickets.items()}
        self._backbone = {site.name: _Backbone.install(site, weights[site.name]) for site in sites}
        for first, *others in self._recipe.fold:
            for other in others:
                self._backbone[other].share(self._backbone[first])
        model.requires_grad_(False)
        model.eval()

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass with one ticket. Raises KeyError for a name that is not in the bank."""
        with self.using(name) as model:
            return model(*args, **kwargs)

    @contextmanager
    def using(self, name: str) -> Iterator[nn.Module]:
        """The model is that of one ticket within the block, and afterwards what it was before.

        Where a layer is called many times in a block, `torch.nn.utils.parametrize.cached()` inside it keeps the masked
        weights until its end. Raises KeyError for an unknown name, RuntimeError within an outer `cached()`, which
        would go on with another ticket's weights.
        """
        if name not in self._held:
            raise KeyError(f"no ticket {name!r} in the bank, which has {', '.join(self._held)}")
        if parametrize._cache_enabled:
            raise RuntimeError("a ticket is chosen within parametrize.cached(); allowed is the cache within the choice")
        self._in_use.append(name)
        self._choose()
        try:
            yield self.model
        finally:
            self._in_use.pop()
            self._choose()

    def add(self, name: str, ticket: Ticket) -> None:
        """Keep one more ticket. Raises ValueError for one that does not fit, and for a name that is taken."""
        _require_ticket(name, ticket)
        if name in self._held:
            raise ValueError(f"ticket {name!r} is in the bank already")
        self._check(name, ticket, {key: backbone.weight for key, backbone in self._backbone.items()})
        self._held[name] = _Held.of(ticket)

    def remove(self, name: str) -> None:
        """Forget a ticket. Raises KeyError for an unknown name, ValueError for a ticket in use."""
        if name in self._in_use:
            raise ValueError(f"ticket {name!r} is in use")
        del self._held[name]

    def names(self) -> tuple[str, ...]:
        """The tickets in the bank, in the order in which they came."""
        return tuple(self._held)

    def bytes(self, name: str) -> int:
        """Memory that one ticket takes beside the weights: packed bits, gains and scales, unmasked tensors."""
        return self._held[name].bytes()

    @torch.no_grad()
    def _choose(self) -> None:
        """Give the model what the innermost block's ticket has; outside of all blocks, no bits."""
        if not self._in_use:
            for backbone in self._backbone.values():
                backbone.banked.bits = None
            return
        held = self._held[self._in_use[-1]]
        for name, backbone in self._backbone.items():
            # What was moved once stays there: the next switch copies nothing.
            held.bits[name] = held.bits[name].to(backbone.weight.device)
            banked = backbone.banked
            banked.bits, banked.gain, banked.scale = held.bits[name], held.gains[name], held.scales[name]
        for name, place in self._places.items():
            target = getattr(place.module, place.attribute)
            held.unmasked[name] = held.unmasked[name].to(target.device)
            target.copy_(held.unmasked[name])

    def _check(self, name: str, ticket: Ticket, weights: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a ticket that is not of this backbone; `weights` are its random values."""
        if ticket.recipe != self._recipe:
            theirs, ours = (f"seed {r.seed} and weights {r.weight_init}" for r in (ticket.recipe, self._recipe))
            raise ValueError(f"ticket {name!r} has {theirs}, the bank has {ours}")
        try:
            self._layout.check(ticket.masks, ticket.shared, ticket.unmasked)
        except ValueError as error:
            raise ValueError(f"ticket {name!r}: {error}") from None
        if not has_fingerprint(
            {key: weight * ticket.gains[key] for key, weight in weights.items()}, ticket.fingerprint
        ):
            raise ValueError(f"ticket {name!r}: the weights regenerated from the seed do not have its fingerprint")


def _place(model: nn.Module, name: str) -> Place:
    owner, _, attribute = name.rpartition(".")
    return Place(model.get_submodule(owner), attribute)


def _require_ticket(name: object, ticket: object) -> None:
    if not isinstance(name, str) or not isinstance(ticket, Ticket):
        told = f"{short(name)}: {type(ticket).__name__}"
        raise TypeError(f"tickets has {told}, allowed are names with tickets")


def _packed(mask: Tensor) -> Tensor:
    """Eight mask bits a byte, most significant first: uint8 `[ceil(numel / 8)]`, on the CPU."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _unpacked(bits: Tensor, shape: torch.Size) -> Tensor:
    """The boolean mask `[*shape]` on the device of its packed bits."""
    places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (bits[:, None] & places).bool().view(-1)[: shape.numel()].view(shape)
