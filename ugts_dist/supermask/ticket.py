"""A ticket: seed, gains and entropy-coded supermask in one small file, from which the network is rebuilt.

The file is a safetensors file; `ugts_dist.supermask.ticket_file` describes its bytes. It has a header with these keys.
Every file contains all of them, so that it does not depend on the defaults of later versions.
    format_version  4; in files of older versions 2, or 3 with a `form` or `fold`
    seed, weight_init  of the frozen weights
    fingerprint     the first 16 hexadecimal digits of their SHA-256; all 64 before version 4
    weights         name -> [shape, number kept, gain, scale], in the order in which the masks are coded. Gain and
                    scale are float64 in hexadecimal notation. For a weight with several boolean masks, the number kept
                    is a list with the number of True in each
    form            only for masks of another form than the paper's: `coats`, the number of nested thresholds;
                    `signed`; `pruned` and `locked`, the fractions of each weight that are always masked and always
                    kept
    shared          only with shared weights: further name of a weight -> its name among the weights
    fold            only with folded weights: lists of names of weights that have the random values of the first name
    config, metrics, provenance
The tensors are `masks`, uint8, in the code of `ugts_dist.supermask.coding`, and `unmasked/NAME` for every other
parameter and buffer. A mask that is not binary is stored as several boolean masks, one after the other; see
`ugts_dist.supermask.bit_masks`. Frozen weights (`ugts_dist.supermask.frozen`) are not coded, and the number kept does
not count them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch
from torch import Tensor, nn

from ugts_dist.errors import InputError
from ugts_dist.supermask import coding
from ugts_dist.supermask.coded_masks import decoded_masks, masks_to_code, num_values
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.layout import Layout
from ugts_dist.supermask.masked import Supermask
from ugts_dist.supermask.recipe import Recipe
from ugts_dist.supermask.ticket_file import (
    MASKS,
    OLD_VERSIONS,
    VERSION,
    byte_tensor,
    read_ticket_file,
    write_ticket_file,
)
from ugts_dist.supermask.ticket_header import HeaderWeight, check_header, form_of, recipe_of
from ugts_dist.supermask.weights import brief, has_fingerprint

_UNMASKED = "unmasked/"
# Masks that keep all or nothing take no bytes, and very sparse ones few: at sparsity 0.9999 a byte holds 5,400 weights.
_WEIGHTS_OF_NO_BYTES = 2**26
_WEIGHTS_A_BYTE = 2**13


@dataclass
class Ticket:
    """Everything that rebuilds an untrained subnetwork. Its tensors are on the CPU and belong to it alone.

    Attributes:
        recipe: seed and initialisation of the frozen weights.
        gains: the factor of each random weight, by parameter name.
        scales: the factor of each masked weight, by parameter name.
        masks: the boolean supermask of each weight; True: kept.
        unmasked: all other parameters and buffers of the model.
        fingerprint: the first digits of the SHA-256 of the frozen weights, checked when they are regenerated.
        config: how to build the model and on which data, if known.
        metrics: what the ticket achieved.
        provenance: where the ticket comes from, if known; JSON values.
        shared: further names of weights -> name in `masks`.
        form: the values that the masks can have.
        levels: the values of masks that are not binary, int8; empty for binary masks.
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
    shared: dict[str, str] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    levels: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        kept, size = (sum(int(count(mask)) for mask in self.masks.values()) for count in (Tensor.sum, Tensor.numel))
        return f"Ticket(seed {self.recipe.seed}, {len(self.masks)} layers, {kept:,} of {size:,} weights kept)"

    @classmethod
    def of(
        cls,
        mask: Supermask,
        config: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Ticket:
        """The ticket that a model's supermask defines at its current thresholds.

        It shares no memory with the model, which can train on while another thread saves the ticket. If the frozen
        weights have changed since the last ticket, they are regenerated and compared with the model's.

        Raises: TypeError for anything but a Supermask. FloatingPointError for scores that are not finite. ValueError,
        in one line, if the ticket would not rebuild the network: frozen weights that differ from seed and gain, masks
        or modules that were removed or replaced, tensors that a file can't store.
        """
        if not isinstance(mask, Supermask):
            raise TypeError(f"mask is {type(mask).__name__}, allowed is what sparsify returns")
        mask.check()
        return cls(
            mask.recipe,
            mask.gains(),
            mask.scales(),
            {name: value.cpu() for name, value in mask.masks().items()},
            {name: value.detach().cpu().clone() for name, value in mask.unmasked().items()},
            brief(mask.fingerprint()),
            deepcopy(dict(config or {})),
            dict(metrics or {}),
            deepcopy(dict(provenance or {})),
            mask.shared(),
            mask.options.form,
            {name: value.cpu() for name, value in mask.levels().items()},
        )

    @property
    def sparsity(self) -> float:
        """Fraction of weights masked to zero."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self.masks.values()) / total

    def bit_masks(self) -> dict[str, list[coding.Mask]]:
        """The boolean masks that the file codes, flat, in order, for each weight."""
        return masks_to_code(self.masks | self.levels, self.form, self.recipe.seed)

    def save(self, path: str | Path) -> int:
        """Write the ticket to a temporary file, flush it and rename it. Returns the size in bytes.

        Raises: ValueError for values that `load` would refuse, such as metrics that are not finite.
        """
        coded = self.bit_masks()
        header: dict[str, Any] = {
            "format_version": VERSION,
            "seed": self.recipe.seed,
            "weight_init": self.recipe.weight_init,
            "fingerprint": brief(self.fingerprint),
            "weights": {
                name: HeaderWeight(
                    tuple(self.masks[name].shape),
                    tuple(int(mask.sum()) for mask in masks),
                    self.gains[name],
                    self.scales[name],
                ).to_json()
                for name, masks in coded.items()
            },
            "config": self.config,
            "metrics": self.metrics,
            "provenance": self.provenance,
        }
        if self.shared:
            header["shared"] = self.shared
        if not self.form.is_usual:
            header["form"] = self.form.to_json()
        if self.recipe.fold:
            header["fold"] = [list(group) for group in self.recipe.fold]
        check_header(header)
        data = coding.encode([mask for masks in coded.values() for mask in masks])
        tensors = {MASKS: byte_tensor(data)} | {f"{_UNMASKED}{name}": value for name, value in self.unmasked.items()}
        return write_ticket_file(Path(path), header, tensors)

    @classmethod
    def load(cls, path: str | Path, max_weights: int = 2**31) -> Ticket:
        """Read a ticket. The file need not be trusted.

        Args:
            path: of the file.
            max_weights: the largest network to allocate masks for, in bytes: one per weight (with several coats, one
                per weight and coat that keeps it). 2^13 weights per byte of coded masks, plus 2^26, are always allowed.

        Raises: InputError, in one line, for a file that is missing, damaged, too large or not a ticket.
        """
        header, tensors = read_ticket_file(Path(path))
        version = header.get("format_version")
        if type(version) is not int or version not in (*OLD_VERSIONS, VERSION):
            allowed = f"{OLD_VERSIONS[0]} to {VERSION}"
            raise InputError(f"{path}: ticket of version {short(version)}, allowed are {allowed}")
        try:
            return cls._from_parts(header, tensors, max_weights)
        except MemoryError:
            raise InputError(f"{path}: ticket of a network that is too large for this machine's memory") from None
        except ValueError as error:
            raise InputError(f"{path}: damaged ticket ({error})") from None

    @classmethod
    def _from_parts(cls, header: dict[str, Any], tensors: dict[str, Tensor], max_weights: int) -> Ticket:
        weights = check_header(header)
        coded = tensors.pop(MASKS, None)
        form = form_of(header)
        total = num_values(weights, form)
        held = 0 if coded is None else coded.numel()
        most = min(max_weights, _WEIGHTS_OF_NO_BYTES + _WEIGHTS_A_BYTE * held)
        if total > most:
            raise ValueError(f"it declares {total} weights, allowed are {most} with {held} bytes of masks")
        recipe = recipe_of(header)
        if coded is None or coded.dtype != torch.uint8 or coded.dim() != 1:
            raise ValueError("it has no tensor `masks` of bytes")
        levels = decoded_masks(coded.numpy().tobytes(), weights, form, recipe.seed)
        return cls(
            recipe,
            {name: weight.gain for name, weight in weights.items()},
            {name: weight.scale for name, weight in weights.items()},
            {name: value.bool() for name, value in levels.items()},
            {_unmasked_name(name): value for name, value in tensors.items()},
            header["fingerprint"],
            header["config"],
            {name: float(value) for name, value in header["metrics"].items()},
            header["provenance"],
            header.get("shared", {}),
            form,
            {} if form.is_binary else levels,
        )

    def weights(self) -> dict[str, Tensor]:
        """The frozen weights, regenerated from the seed. Raises ValueError if their fingerprint is not the ticket's."""
        regenerated = {name: self.recipe.draw(name, mask.shape) * self.gains[name] for name, mask in self.masks.items()}
        if not has_fingerprint(regenerated, self.fingerprint):
            raise ValueError("the weights regenerated from the seed do not have the ticket's fingerprint")
        return regenerated

    def effective(self) -> dict[str, Tensor]:
        """The weights that the network computes with: masked and scaled. Raises ValueError as `weights` does."""
        return {
            # The order of operations of training, for the same bits.
            name: torch.where(self.masks[name], weight * self.levels.get(name, 1) * self.scales[name], 0.0)
            for name, weight in self.weights().items()
        }

    @torch.no_grad()
    def apply(self, model: nn.Module) -> nn.Module:
        """Write the masked weights into a plain model of the same architecture, and return it in evaluation mode.

        The model has to share the weights that the ticket's network shares, and no others.

        Raises ValueError, in one line that names the differences, for a model whose parameters have other names or
        shapes; the model is then unchanged.
        """
        Layout.of(model).check(self.masks, self.shared, self.unmasked)
        state = self.effective()
        state |= {name: state[own] for name, own in self.shared.items()}
        model.load_state_dict(state | self.unmasked)
        return model.eval()


def _unmasked_name(name: str) -> str:
    if not name.startswith(_UNMASKED):
        raise ValueError(f"it has a tensor {short(name)}, allowed are `masks` and names with {_UNMASKED}")
    return name.removeprefix(_UNMASKED)
