"""Several tickets on one backbone: the frozen weights are held once, and of each ticket little but its mask bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ugts_dist.supermask.masked import maskable_names
from ugts_dist.supermask.ticket import Ticket
from ugts_dist.supermask.weights import fingerprint, random_tensor

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
        return torch.where(_unpacked(self.bits, weight.shape), weight * self.gain * self.scale, 0.0)


@dataclass
class _Place:
    """Where a tensor of the model lives."""

    module: nn.Module
    attribute: str

    @classmethod
    def of(cls, model: nn.Module, name: str) -> _Place:
        owner, _, attribute = name.rpartition(".")
        return cls(model.get_submodule(owner), attribute)

    @property
    def tensor(self) -> Tensor:
        return getattr(self.module, self.attribute)


@dataclass
class _Backbone(_Place):
    """Where one frozen weight lives that the tickets share."""

    banked: _BankedWeight

    @classmethod
    def install(cls, model: nn.Module, name: str, weight: Tensor) -> _Backbone:
        """Write the random values, and let every reader of the weight get them masked."""
        place, banked = _Place.of(model, name), _BankedWeight()
        with torch.no_grad():
            place.tensor.copy_(weight)
        # Unsafe only in that the parametrization is not tried here, when no ticket is in use.
        parametrize.register_parametrization(place.module, place.attribute, banked, unsafe=True)
        return cls(place.module, place.attribute, banked)

    @property
    def weight(self) -> Tensor:
        """The random values."""
        return self.module.parametrizations[self.attribute].original  # type: ignore[union-attr,index]


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
            {name: _packed(mask) for name, mask in ticket.masks.items()},
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
    weight, two numbers a weight tensor, and its unmasked parameters and buffers; while a layer computes, its masked
    weight is in memory as well. `model.to(device)` moves the weights, and what is kept of a ticket follows when it is
    next used. Modes and devices are the model's own, so call `model.eval()` where that matters; what a forward pass
    changes in buffers (batch normalisation in training mode) lasts until a ticket is chosen again.

    A bank serves one caller at a time: threads need a lock around a call, or a bank each (`copy.deepcopy` makes one).
    """

    def __init__(self, model: nn.Module, tickets: Mapping[str, Ticket]) -> None:
        """
        Args:
            model: plain model of the tickets' architecture, on any device; changed in place.
            tickets: at least one, by any names.

        Raises: ValueError, in one line that names what differs, for tickets that do not fit the model or each other;
        the model is then left as it was.
        """
        if not tickets:
            raise ValueError("a bank of no tickets: at least one is needed, which tells the seed of the weights")
        self.model = model
        self._recipe = next(iter(tickets.values())).recipe
        self._in_use: list[str] = []  # one for each block that has not ended, the innermost last
        seed, init = self._recipe.seed, self._recipe.weight_init
        shapes = maskable_names(model)
        weights = {name: random_tensor(seed, "weight", name, shape, init) for name, shape in shapes.items()}
        self._places = {name: _Place.of(model, name) for name in model.state_dict() if name not in shapes}
        for name, ticket in tickets.items():
            self._check(name, ticket, weights)
        self._held = {name: _Held.of(ticket) for name, ticket in tickets.items()}
        self._backbone = {name: _Backbone.install(model, name, weight) for name, weight in weights.items()}
        model.requires_grad_(False)

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
        if name in self._held:
            raise ValueError(f"ticket {name!r} is in the bank already")
        self._check(name, ticket, {key: place.weight for key, place in self._backbone.items()})
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
            for place in self._backbone.values():
                place.banked.bits = None
            return
        held = self._held[self._in_use[-1]]
        for name, place in self._backbone.items():
            # What was moved once stays there: the next switch copies nothing.
            held.bits[name] = held.bits[name].to(place.weight.device)
            banked = place.banked
            banked.bits, banked.gain, banked.scale = held.bits[name], held.gains[name], held.scales[name]
        for name, target in self._places.items():
            held.unmasked[name] = held.unmasked[name].to(target.tensor.device)
            target.tensor.copy_(held.unmasked[name])

    def _check(self, name: str, ticket: Ticket, weights: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a ticket that is not of this backbone; `weights` are its random values."""
        if ticket.recipe != self._recipe:
            theirs, ours = (f"seed {r.seed} and weights {r.weight_init}" for r in (ticket.recipe, self._recipe))
            raise ValueError(f"ticket {name!r} has {theirs}, the bank has {ours}")
        _same_shapes(f"ticket {name!r}: weight", ticket.masks, weights)
        unmasked = {key: place.tensor for key, place in self._places.items()}
        _same_shapes(f"ticket {name!r}: unmasked tensor", ticket.unmasked, unmasked)
        if fingerprint({key: weight * ticket.gains[key] for key, weight in weights.items()}) != ticket.fingerprint:
            raise ValueError(f"ticket {name!r}: the weights regenerated from the seed do not have its fingerprint")


def _same_shapes(what: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises ValueError that names the first tensor which one side lacks, or which has another shape."""
    for name in sorted(found.keys() | wanted.keys()):
        theirs, ours = (tuple(side[name].shape) if name in side else None for side in (found, wanted))
        if theirs != ours:
            there, here = (f"of shape {shape}" if shape is not None else "absent" for shape in (theirs, ours))
            raise ValueError(f"{what} {name} is {there}, and in the model {here}")


def _packed(mask: Tensor) -> Tensor:
    """Eight mask bits a byte, most significant first: uint8 `[ceil(numel / 8)]`, on the CPU."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _unpacked(bits: Tensor, shape: torch.Size) -> Tensor:
    """The boolean mask `[*shape]` on the device of its packed bits."""
    places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (bits[:, None] & places).bool().view(-1)[: shape.numel()].view(shape)
