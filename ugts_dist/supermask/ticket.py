"""A ticket: seed, gains and entropy-coded supermask in one small file, from which the network is rebuilt.

The file is a safetensors file with one metadata entry, `ugts`: a JSON object with these keys.
    format_version  2
    seed, weight_init, fingerprint  of the frozen weights
    weights         name -> [shape, number kept, gain, scale], in the order in which the masks are coded; gain and
                    scale are float64 in hexadecimal notation
    config, metrics, provenance
    sha256          as `ugts_dist.tensor_file` defines it
Its tensors are `masks`, uint8, the bytes of `ugts_dist.supermask.coding`, and `unmasked/NAME` for every other
parameter and buffer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ugts_dist.errors import InputError
from ugts_dist.supermask import coding
from ugts_dist.supermask.masked import Recipe, Supermask, maskable_names
from ugts_dist.supermask.weights import Init, fingerprint, random_tensor
from ugts_dist.tensor_file import read_tensor_file, write_tensor_file

FORMAT_VERSION = 2
_KIND = "ugts"
_KEYS = {"format_version", "seed", "weight_init", "fingerprint", "weights", "config", "metrics", "provenance"}
_UNMASKED = "unmasked/"
_MAX_BYTES = 2**31
_MAX_AXES = 16


@dataclass
class Ticket:
    """Everything that rebuilds an untrained subnetwork; of plain tensors on the CPU, which nothing else changes.

    Attributes:
        recipe: seed and initialisation of the frozen weights.
        gains: what each random weight is multiplied by, by parameter name.
        scales: what each masked weight is multiplied by, by parameter name.
        masks: boolean supermask of each weight.
        unmasked: all other parameters and buffers of the model, as they were.
        fingerprint: SHA-256 of the frozen weights, checked when they are regenerated.
        config: how to build the model and on which data, where known.
        metrics: what the ticket achieved.
        provenance: how it came about, where known; values that JSON can hold.
    """

    recipe: Recipe
    gains: dict[str, float]
    scales: dict[str, float]
    masks: dict[str, Tensor]
    unmasked: dict[str, Tensor]
    fingerprint: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        mask: Supermask,
        config: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Ticket:
        """The ticket that a model's supermask defines at its present thresholds.

        It shares nothing with the model, which may go on while another thread saves the ticket.
        """
        return cls(
            mask.recipe,
            mask.gains(),
            mask.scales(),
            {name: value.cpu() for name, value in mask.masks().items()},
            {name: value.detach().cpu().clone() for name, value in mask.unmasked().items()},
            mask.fingerprint(),
            deepcopy(dict(config or {})),
            dict(metrics or {}),
            deepcopy(dict(provenance or {})),
        )

    @property
    def sparsity(self) -> float:
        """Fraction of weights masked to zero."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self.masks.values()) / total

    def save(self, path: str | Path) -> int:
        """Write the ticket under a temporary name, flush it, rename it. Returns its size in bytes.

        Raises: ValueError for what would be refused when it is read, such as metrics that are not finite.
        """
        header = {
            "format_version": FORMAT_VERSION,
            "seed": self.recipe.seed,
            "weight_init": self.recipe.weight_init,
            "fingerprint": self.fingerprint,
            "weights": {
                name: [list(mask.shape), int(mask.sum()), _to_hex(self.gains[name]), _to_hex(self.scales[name])]
                for name, mask in self.masks.items()
            },
            "config": self.config,
            "metrics": self.metrics,
            "provenance": self.provenance,
        }
        _check(header)
        coded = coding.encode([mask.numpy() for mask in self.masks.values()])
        tensors = {"masks": torch.frombuffer(bytearray(coded), dtype=torch.uint8) if coded else _no_bytes()}
        tensors |= {f"{_UNMASKED}{name}": value for name, value in self.unmasked.items()}
        return write_tensor_file(Path(path), tensors, header, _KIND)

    @classmethod
    def load(cls, path: str | Path, max_weights: int = 2**31) -> Ticket:
        """Read a ticket, from whomever it comes.

        Args:
            path: of its file.
            max_weights: the largest network to allocate masks for, whose coded form can be far smaller.

        Raises: InputError, in one line, for a file that is missing, damaged, too large or not a ticket.
        """
        header, tensors = read_tensor_file(Path(path), _KIND, "a ticket (.ticket)", _MAX_BYTES)
        version = header.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise InputError(f"{path}: ticket of version {short(version)}, allowed is {FORMAT_VERSION}")
        try:
            return cls._from_parts(header, tensors, max_weights)
        except MemoryError:
            raise InputError(f"{path}: ticket of a network that is too large for this machine's memory") from None
        except ValueError as error:
            raise InputError(f"{path}: damaged ticket ({error})") from None

    @classmethod
    def _from_parts(cls, header: dict[str, Any], tensors: dict[str, Tensor], max_weights: int) -> Ticket:
        weights = _check(header)
        total = sum(weight.size for weight in weights.values())
        if total > max_weights:
            raise ValueError(f"it declares {total} weights, allowed are {max_weights}")
        return cls(
            Recipe(header["seed"], header["weight_init"]),
            {name: weight.gain for name, weight in weights.items()},
            {name: weight.scale for name, weight in weights.items()},
            _decoded(tensors.pop("masks", None), weights),
            {_unmasked_name(name): value for name, value in tensors.items()},
            header["fingerprint"],
            header["config"],
            {name: float(value) for name, value in header["metrics"].items()},
            header["provenance"],
        )

    def weights(self) -> dict[str, Tensor]:
        """The frozen weights, regenerated from the seed. Raises ValueError where they are not the ticket's own."""
        regenerated = {
            name: random_tensor(self.recipe.seed, "weight", name, mask.shape, self.recipe.weight_init)
            * self.gains[name]
            for name, mask in self.masks.items()
        }
        if fingerprint(regenerated) != self.fingerprint:
            raise ValueError("the weights regenerated from the seed do not have the ticket's fingerprint")
        return regenerated

    @torch.no_grad()
    def apply(self, model: nn.Module) -> nn.Module:
        """Write the masked weights into an ordinary model of the same architecture, and return it.

        Raises ValueError for a model whose parameters have other names or shapes.
        """
        if {name: mask.shape for name, mask in self.masks.items()} != maskable_names(model):
            raise ValueError("the model's weights differ from the ticket's in name or shape")
        state = {
            name: torch.where(self.masks[name], weight * self.scales[name], 0.0)
            for name, weight in self.weights().items()
        }
        state |= self.unmasked
        if {name: value.shape for name, value in state.items()} != {
            name: value.shape for name, value in model.state_dict().items()
        }:
            raise ValueError("the model's other parameters and buffers differ from the ticket's in name or shape")
        model.load_state_dict(state)
        return model


class _Weight(NamedTuple):
    """What the header tells of one masked weight."""

    shape: tuple[int, ...]
    kept: int
    gain: float
    scale: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _check(header: Mapping[str, Any]) -> dict[str, _Weight]:
    """The weights of a header whose every field is what it should be. Raises ValueError for any other."""
    if header.keys() != _KEYS:
        raise ValueError(f"its header has other fields than {', '.join(sorted(_KEYS))}")
    seed, init, hashed = header["seed"], header["weight_init"], header["fingerprint"]
    if type(seed) is not int or not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {short(seed)}, allowed is a whole number from -2^63 to 2^64 - 1")
    if init not in get_args(Init):
        raise ValueError(f"unknown initialisation {short(init)}, allowed are {', '.join(get_args(Init))}")
    if not isinstance(hashed, str) or not re.fullmatch("[0-9a-f]{64}", hashed):
        raise ValueError(f"fingerprint is {short(hashed)}, allowed are 64 hexadecimal digits")
    for name in ("weights", "config", "metrics", "provenance"):
        if not isinstance(header[name], dict):
            raise ValueError(f"{name} is {short(header[name])}, allowed is an object")
    for name, value in header["metrics"].items():
        # The comparison is false for NaN as well.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**1000:
            raise ValueError(f"metric {short(name)} is {short(value)}, allowed is a finite number")
    if not header["weights"]:
        raise ValueError("it has no weights")
    return {name: _weight(f"weight {short(name)}", entry) for name, entry in header["weights"].items()}


def _weight(told: str, entry: Any) -> _Weight:
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError(f"{told} is {short(entry)}, allowed is [shape, number kept, gain, scale]")
    shape, kept, gain, scale = entry
    if (
        not isinstance(shape, list)
        or not 2 <= len(shape) <= _MAX_AXES
        or not all(type(axis) is int and 1 <= axis < 2**40 for axis in shape)
    ):
        raise ValueError(f"{told} has shape {short(shape)}, allowed are 2 to {_MAX_AXES} axes, each of 1 or more")
    if type(kept) is not int or not 0 <= kept <= math.prod(shape):
        raise ValueError(f"{told} keeps {short(kept)} of its {math.prod(shape)} weights")
    return _Weight(tuple(shape), kept, _from_hex(f"gain of {told}", gain), _from_hex(f"scale of {told}", scale))


def _decoded(coded: Tensor | None, weights: Mapping[str, _Weight]) -> dict[str, Tensor]:
    if coded is None or coded.dtype != torch.uint8 or coded.dim() != 1:
        raise ValueError("it has no tensor `masks` of bytes")
    sizes, counts = [weight.size for weight in weights.values()], [weight.kept for weight in weights.values()]
    masks = coding.decode(coded.numpy().tobytes(), sizes, counts)
    return {
        name: torch.from_numpy(mask).reshape(weight.shape)
        for (name, weight), mask in zip(weights.items(), masks, strict=True)
    }


def _unmasked_name(name: str) -> str:
    if not name.startswith(_UNMASKED):
        raise ValueError(f"it has a tensor {short(name)}, allowed are `masks` and names with {_UNMASKED}")
    return name.removeprefix(_UNMASKED)


def _no_bytes() -> Tensor:
    return torch.empty(0, dtype=torch.uint8)  # torch.frombuffer refuses an empty buffer


def _to_hex(value: float) -> str:
    """Hexadecimal notation without the zeros at the end: 1.0 is 0x1p+0."""
    return re.sub(r"\.?0*p", "p", value.hex())


def _from_hex(told: str, text: Any) -> float:
    try:
        value = float.fromhex(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{told} is {short(text)}, allowed is a finite number in hexadecimal notation")
    return value
