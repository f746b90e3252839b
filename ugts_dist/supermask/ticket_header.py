"""Checks of the header of a ticket file, which need not be trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any, NamedTuple, get_args

from ugts_dist.supermask.arguments import MAX_SEED, MIN_SEED
from ugts_dist.supermask.bit_masks import coded_sizes
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.frozen import num_free
from ugts_dist.supermask.recipe import Recipe, check_gain
from ugts_dist.supermask.ticket_file import OLD_VERSIONS, VERSION
from ugts_dist.supermask.weights import DIGITS, Init

_USUAL_VERSION, _FORM_VERSION = OLD_VERSIONS  # the second for other forms of masks, or folded weights
_KEYS = {"format_version", "seed", "weight_init", "fingerprint", "weights", "config", "metrics", "provenance"}
_OLD_DIGITS = 64  # of a fingerprint
_MAX_AXES = 16
_SCALES = (0.5, 2.0**20)  # density^-1/2 of at most 2^40 weights; a half leaves room for rounding
_ADDED = {"shared", "form", "fold"}  # optional keys


class HeaderWeight(NamedTuple):
    """The header's entry for one masked weight."""

    shape: tuple[int, ...]
    counts: tuple[int, ...]  # number of True in each of its coded masks
    gain: float
    scale: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def to_json(self) -> list[Any]:
        counts = self.counts[0] if len(self.counts) == 1 else list(self.counts)
        return [list(self.shape), counts, _to_hex(self.gain), _to_hex(self.scale)]


def form_of(header: Mapping[str, Any]) -> Form:
    """The form of the masks. Raises ValueError for a form that the header's version does not allow."""
    form = Form.from_json(header["form"]) if "form" in header else Form()
    old = _FORM_VERSION if header.get("fold") or not form.is_usual else _USUAL_VERSION
    if header["format_version"] not in (old, VERSION):
        raise ValueError(f"form is {short(header.get('form'))} in version {short(header['format_version'])}")
    return form


def check_header(header: Mapping[str, Any]) -> dict[str, HeaderWeight]:
    """Check every field of a header, and return its weights. Raises ValueError for values that are not allowed."""
    if header.keys() - _ADDED != _KEYS:
        raise ValueError(f"its header has other fields than {', '.join(sorted(_KEYS))}")
    form = form_of(header)
    seed, init, hashed = header["seed"], header["weight_init"], header["fingerprint"]
    if type(seed) is not int or not MIN_SEED <= seed <= MAX_SEED:
        raise ValueError(f"seed is {short(seed)}, allowed is a whole number from -2^63 to 2^64 - 1")
    if init not in get_args(Init):
        raise ValueError(f"unknown initialisation {short(init)}, allowed are {', '.join(get_args(Init))}")
    digits = DIGITS if header["format_version"] == VERSION else _OLD_DIGITS
    if not isinstance(hashed, str) or not re.fullmatch(f"[0-9a-f]{{{digits}}}", hashed):
        raise ValueError(f"fingerprint is {short(hashed)}, allowed are {digits} hexadecimal digits")
    for name in ("weights", "config", "metrics", "provenance"):
        if not isinstance(header[name], dict):
            raise ValueError(f"{name} is {short(header[name])}, allowed is an object")
    for name, value in header["metrics"].items():
        # This also refuses NaN.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**1000:
            raise ValueError(f"metric {short(name)} is {short(value)}, allowed is a finite number")
    if not header["weights"]:
        raise ValueError("it has no weights")
    weights = {name: _weight(f"weight {short(name)}", entry, form) for name, entry in header["weights"].items()}
    _check_shared(header.get("shared", {}), weights)
    recipe_of(header).check_fold({name: weight.shape for name, weight in weights.items()})
    return weights


def recipe_of(header: Mapping[str, Any]) -> Recipe:
    """The recipe of the weights. Raises ValueError if `fold` is not a list of lists of names."""
    fold = header.get("fold", [])
    if (
        not isinstance(fold, list)
        or not all(isinstance(group, list) for group in fold)
        or ("fold" in header) != bool(fold)
    ):
        raise ValueError(f"fold is {short(fold)}, allowed are lists of names")
    return Recipe(header["seed"], header["weight_init"], tuple(fold))


def _check_shared(shared: Any, weights: Mapping[str, HeaderWeight]) -> None:
    if not isinstance(shared, dict):
        raise ValueError(f"shared is {short(shared)}, allowed is an object")
    for name, own in shared.items():
        if not isinstance(own, str) or own not in weights or name in weights:
            raise ValueError(f"shared has {short(name)} for {short(own)}, allowed is another name for a weight")


def _weight(where: str, entry: Any, form: Form) -> HeaderWeight:
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError(f"{where} is {short(entry)}, allowed is [shape, number kept, gain, scale]")
    shape, kept, gain, scale = entry
    if (
        not isinstance(shape, list)
        or not 2 <= len(shape) <= _MAX_AXES
        or not all(type(axis) is int and 1 <= axis < 2**40 for axis in shape)
    ):
        raise ValueError(f"{where} has shape {short(shape)}, allowed are 2 to {_MAX_AXES} axes, each of 1 or more")
    counts = _counts(where, kept, num_free(math.prod(shape), form), form)
    weight = HeaderWeight(
        tuple(shape), counts, _from_hex(f"gain of {where}", gain), _from_hex(f"scale of {where}", scale)
    )
    check_gain(weight.gain)
    least = _SCALES[0] / form.coats  # the mask's mean square is at most that of its highest level
    if not least <= weight.scale <= _SCALES[1]:
        raise ValueError(f"scale of {where} is {weight.scale:g}, allowed is a number from {least:g} to 2^20")
    return weight


def _counts(where: str, kept: Any, size: int, form: Form) -> tuple[int, ...]:
    counts = tuple(kept) if isinstance(kept, list) else (kept,)
    if isinstance(kept, list) != (form.num_masks > 1) or len(counts) != form.num_masks:
        raise ValueError(f"{where} keeps {short(kept)}, allowed is a number for each of {form.num_masks} masks")
    if not all(type(count) is int for count in counts) or any(
        not 0 <= count <= most for count, most in zip(counts, coded_sizes(size, counts, form), strict=True)
    ):
        raise ValueError(f"{where} keeps {short(kept)} of {size} weights")
    return counts


def _to_hex(value: float) -> str:
    """Hexadecimal notation without trailing zeros: 1.0 is 0x1p+0."""
    return re.sub(r"\.?0*p", "p", value.hex())


def _from_hex(where: str, text: Any) -> float:
    try:
        value = float.fromhex(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where} is {short(text)}, allowed is a finite number in hexadecimal notation")
    return value
