"""A ticket: seed, gains and packed supermask in one small file, from which the network is rebuilt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ugts_dist.atomic import write_file
from ugts_dist.errors import InputError
from ugts_dist.supermask.masked import Recipe, Supermask, maskable_names
from ugts_dist.supermask.weights import fingerprint, random_tensor

FORMAT_VERSION = 1


@dataclass
class Ticket:
    """Everything that rebuilds an untrained subnetwork.

    Attributes:
        recipe: seed and initialisation of the frozen weights.
        gains: what each random weight is multiplied by, by parameter name.
        scales: what each masked weight is multiplied by, by parameter name.
        masks: boolean supermask of each weight.
        unmasked: all other parameters and buffers of the model, as they were.
        fingerprint: SHA-256 of the frozen weights, checked when they are regenerated.
        config: how to build the model and on which data, where known.
        metrics: what the ticket achieved.
    """

    recipe: Recipe
    gains: dict[str, float]
    scales: dict[str, float]
    masks: dict[str, Tensor]
    unmasked: dict[str, Tensor]
    fingerprint: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        mask: Supermask,
        config: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Ticket:
        """The ticket that a model's supermask defines at its present thresholds."""
        return cls(
            mask.recipe,
            mask.gains(),
            mask.scales(),
            {name: value.cpu() for name, value in mask.masks().items()},
            {name: value.detach().cpu().clone() for name, value in mask.unmasked().items()},
            mask.fingerprint(),
            dict(config or {}),
            dict(metrics or {}),
        )

    @property
    def sparsity(self) -> float:
        """Fraction of weights masked to zero."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self.masks.values()) / total

    def save(self, path: str | Path) -> int:
        """Write the ticket under a temporary name, flush it, rename it. Returns its size in bytes."""
        header = {
            "format_version": FORMAT_VERSION,
            "seed": self.recipe.seed,
            "weight_init": self.recipe.weight_init,
            "fingerprint": self.fingerprint,
            "weights": {
                name: {
                    "shape": list(mask.shape),
                    "gain": self.gains[name].hex(),
                    "scale": self.scales[name].hex(),
                }
                for name, mask in self.masks.items()
            },
            "config": self.config,
            "metrics": self.metrics,
        }
        tensors = {f"mask/{name}": _pack(mask) for name, mask in self.masks.items()}
        tensors |= {f"unmasked/{name}": value.contiguous() for name, value in self.unmasked.items()}
        header["sha256"] = _checksum(header, tensors)
        # One entry only: safetensors writes several in a random order.
        data = safetensors.torch.save(tensors, {"ugts": json.dumps(header, separators=(",", ":"))})
        write_file(Path(path), data)
        return len(data)

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Read a ticket. Raises InputError, in one line, for a file that is missing, damaged or not a ticket."""
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; a ticket (.ticket) is needed") from None
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{path}: not a ticket, or damaged ({error})") from None
        if "ugts" not in metadata:
            raise InputError(f"{path}: a safetensors file, but not a ticket")
        try:
            header = json.loads(metadata["ugts"])
            if header["format_version"] != FORMAT_VERSION:
                raise InputError(f"{path}: ticket of version {header['format_version']}, allowed is {FORMAT_VERSION}")
            if header.pop("sha256") != _checksum(header, tensors):
                raise ValueError("its checksum is wrong")
            return cls._from_parts(header, tensors)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged ticket ({type(error).__name__}: {error})") from None

    @classmethod
    def _from_parts(cls, header: Any, tensors: Mapping[str, Tensor]) -> Ticket:
        weights = header["weights"]
        return cls(
            Recipe(int(header["seed"]), header["weight_init"]),
            {name: float.fromhex(entry["gain"]) for name, entry in weights.items()},
            {name: float.fromhex(entry["scale"]) for name, entry in weights.items()},
            {name: _unpack(tensors[f"mask/{name}"], torch.Size(entry["shape"])) for name, entry in weights.items()},
            {name[9:]: value for name, value in tensors.items() if name.startswith("unmasked/")},
            str(header["fingerprint"]),
            dict(header["config"]),
            dict(header["metrics"]),
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


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a ticket's file says: header, and name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pack(mask: Tensor) -> Tensor:
    """Eight mask bits a byte, most significant first: uint8 `[ceil(numel / 8)]`."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _unpack(packed: Tensor, shape: torch.Size) -> Tensor:
    size = shape.numel()
    if packed.dtype != torch.uint8 or packed.numel() != -(-size // 8):
        raise ValueError(f"mask of {packed.numel()} bytes for a weight of shape {tuple(shape)}")
    bits = np.unpackbits(packed.numpy(), count=size).astype(bool)
    return torch.from_numpy(bits.reshape(tuple(shape)))
