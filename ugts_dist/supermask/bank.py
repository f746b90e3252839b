"""Several tickets on one backbone: the frozen weights are held once, plus the mask bits of each ticket."""

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
    """Parametrization of one frozen weight. It holds random values and masks them with the bits of the ticket in use,
    which it unpacks when a layer reads the weight."""

    bits: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bits", None, persistent=False)
        self.gain = self.scale = 1.0

    def forward(self, weight: Tensor) -> Tensor:
        if self.bits is None:
            raise RuntimeError("no ticket is in use: call the bank, or the model within `with bank.using(name)`")
        # The order of operations of Ticket.apply, for the same bits.
        if self.bits.dtype == torch.int8:  # a mask that is not binary
            levels = self.bits.view(weight.shape)
            return torch.where(levels != 0, weight * self.gain * levels * self.scale, 0.0)
        return torch.where(_unpacked(self.bits, weight.shape), weight * self.gain * self.scale, 0.0)


@dataclass
class _Backbone:
    """One frozen weight that the tickets share, with the parametrization that masks it."""

    place: Place
    banked: _BankedWeight

    @classmethod
    def install(cls, site: Site, weight: Tensor) -> _Backbone:
        """Write the random values, and mask them for every layer that reads the weight."""
        banked = _BankedWeight()
        with torch.no_grad():
            site.parameter.copy_(weight)
        for place in site.places:
            # `unsafe` only skips a trial call of the parametrization, which would fail without a ticket in use.
            parametrize.register_parametrization(place.module, place.attribute, banked, unsafe=True)
        return cls(site.places[0], banked)

    @property
    def weight(self) -> Tensor:
        """The random values."""
        return self.place.original


@dataclass
class _Held:
    """What the bank keeps of one ticket, by name of the weight, parameter or buffer."""

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

    The results have the same bits as those of a model filled by `Ticket.apply`. Each ticket takes one bit per weight (a
    byte if its masks are not binary), two numbers per weight tensor, and its unmasked parameters and buffers. During a
    forward pass the masked weight of the current layer is in memory, too. `model.to(device)` moves the weights; a
    ticket follows when it is next used. The model is in evaluation mode. If it is called in training mode, changes of
    buffers (batch normalisation) last until a ticket is chosen again.

    A bank serves one caller at a time. Threads need a lock around each call, or a bank each (`copy.deepcopy`).
    """

    def __init__(self, model: nn.Module, tickets: Mapping[str, Ticket]) -> None:
        """
        Args:
            model: plain model of the tickets' architecture, on any device; it is changed in place.
            tickets: at least one, with any names.

        Raises: TypeError for arguments of other types. ValueError, in one line that names the differences, for tickets
        that do not fit the model or each other; the model is then unchanged.
        """
        if not isinstance(tickets, Mapping):
            raise TypeError(f"tickets is {type(tickets).__name__}, allowed is a mapping of names to tickets")
        for name, ticket in tickets.items():
            _require_ticket(name, ticket)
        if not tickets:
            raise ValueError("tickets is empty, allowed is one ticket or more")
        self.model = model
        self._recipe = next(iter(tickets.values())).recipe
        self._in_use: list[str] = []  # one per open block, the innermost last
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
                self._backbone[other].place.share(self._backbone[first].place)
        model.requires_grad_(False)
        model.eval()

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run the model's forward pass with one ticket. Raises KeyError for a name that is not in the bank."""
        with self.using(name) as model:
            return model(*args, **kwargs)

    @contextmanager
    def using(self, name: str) -> Iterator[nn.Module]:
        """Use one ticket within the block; afterwards the model is as before.

        If a layer is called many times in the block, `torch.nn.utils.parametrize.cached()` inside it keeps the masked
        weights until the block ends.

        Raises: KeyError for an unknown name. RuntimeError inside an outer `cached()`, whose cache would hold another
        ticket's weights.
        """
        if name not in self._held:
            raise KeyError(f"no ticket {name!r} in the bank, which has {', '.join(self._held)}")
        if parametrize._cache_enabled:
            raise RuntimeError("using() inside parametrize.cached(), allowed is parametrize.cached() inside using()")
        self._in_use.append(name)
        self._choose()
        try:
            yield self.model
        finally:
            self._in_use.pop()
            self._choose()

    def add(self, name: str, ticket: Ticket) -> None:
        """Add a ticket. Raises ValueError for one that does not fit, and for a name that is taken."""
        _require_ticket(name, ticket)
        if name in self._held:
            raise ValueError(f"ticket {name!r} is already in the bank")
        self._check(name, ticket, {key: backbone.weight for key, backbone in self._backbone.items()})
        self._held[name] = _Held.of(ticket)

    def remove(self, name: str) -> None:
        """Remove a ticket. Raises KeyError for an unknown name, ValueError for a ticket in use."""
        if name in self._in_use:
            raise ValueError(f"ticket {name!r} is in use")
        del self._held[name]

    def names(self) -> tuple[str, ...]:
        """The tickets in the bank, in the order in which they were added."""
        return tuple(self._held)

    def bytes(self, name: str) -> int:
        """Bytes of memory of one ticket in addition to the weights: packed bits, gains, scales, unmasked tensors."""
        return self._held[name].bytes()

    @torch.no_grad()
    def _choose(self) -> None:
        """Set the bits of the innermost block's ticket; no bits outside all blocks."""
        if not self._in_use:
            for backbone in self._backbone.values():
                backbone.banked.bits = None
            return
        held = self._held[self._in_use[-1]]
        for name, backbone in self._backbone.items():
            # A moved tensor stays on the new device, so that the next switch copies nothing.
            held.bits[name] = held.bits[name].to(backbone.weight.device)
            banked = backbone.banked
            banked.bits, banked.gain, banked.scale = held.bits[name], held.gains[name], held.scales[name]
        for name, place in self._places.items():
            target = getattr(place.module, place.attribute)
            held.unmasked[name] = held.unmasked[name].to(target.device)
            target.copy_(held.unmasked[name])

    def _check(self, name: str, ticket: Ticket, weights: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a ticket of another backbone; `weights` are its random values."""
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
        text = f"{short(name)}: {type(ticket).__name__}"
        raise TypeError(f"tickets has {text}, allowed are names with tickets")


def _packed(mask: Tensor) -> Tensor:
    """Mask bits packed eight per byte, most significant first: uint8 `[ceil(numel / 8)]`, on the CPU."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _unpacked(bits: Tensor, shape: torch.Size) -> Tensor:
    """The boolean mask `[*shape]`, on the device of the packed bits."""
    places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (bits[:, None] & places).bool().view(-1)[: shape.numel()].view(shape)
