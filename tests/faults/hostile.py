"""Files by somebody who can compute checksums: the checks behind the checksum are tested."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from tests.faults.damaged_bytes import Damage, replace
from tests.faults.hostile_headers import DEEP, HUGE, NAMES, raw_tensors
from ugts_dist.tensor_file import read_tensor_file, tensor_file_bytes

Header = dict[str, Any]
Tensors = dict[str, Tensor]

_NO_COUNTS: list[Any] = [None, "3", -1, 2**62, 10**30, HUGE, 1.5, True, [], {}, "\u0663", math.nan, 10**6 + 1]
_NO_NUMBERS: list[Any] = [None, "1.0", HUGE, True, [], {}, math.nan, math.inf, -math.inf, 1]

# Of state.json


def _state(path: Path, change: Callable[[Header], Any]) -> None:
    values = json.loads(path.read_text().partition("\n")[2])
    changed = change(values)
    write_state(path, json.dumps(values if changed is None else changed, separators=(",", ":")))


def write_state(path: Path, text: str) -> None:
    """With the right checksum."""
    data = text.encode("utf-8", "surrogatepass")
    replace(path, f"{hashlib.sha256(data).hexdigest()} 1\n".encode() + data + b"\n")


STATE_VALUES: dict[str, list[Any]] = {
    "epoch": _NO_COUNTS,
    "step": [*_NO_COUNTS, 3],
    "steps_per_epoch": [*_NO_COUNTS, 0],
    "losses": [[], None, "x", 0.5, {}, [None, 0.1], ["0.1"], [True], [HUGE], [{}], [math.nan], [[0.1]], [1]],
    "seconds": [-1.0, -HUGE, *_NO_NUMBERS],
    "best": [None, [], {}, 3, "best", [["epoch", 3]], {"epoch": 3}],
    "measured": [None, [], {}, {"valid": 0.5}, {"valid": 0.5, "test": "0.5"}, {"valid": 0.5, "test": math.inf}, 5],
    "gains": [None, 5, "gains", [], {}, [["a"]], {"../../x": "0x1p+0"}],
    "fingerprint": [None, 5, "", "0" * 64, "../../x", [], "\ud800", "x" * 10**5],
    "is_best": [None, 1, 0, "true", [], {}, 0.0],
    "config": [None, [], 5, "digits", {"run": 5}, {"../x": {}}, {"model": {"width": "16"}}, {"model": {"depth": -1}}],
    "best_file": [
        *("../../x", "/etc/passwd", "best.safetensors", "best.ticket\0", "BEST.TICKET", "", "state.json", "."),
        *("./best.ticket", "best.ticket/", "\uff42est.ticket", "best.ticket\n", "x" * 10**5, None, 5, []),
    ],
    "best_sha256": ["0" * 64, "", None, 5, [], "\u0660" * 64],
}
_BEST_VALUES: dict[str, list[Any]] = {
    "epoch": [*_NO_COUNTS[:-1], -2, 10**6],
    "valid": _NO_NUMBERS,
    "test": ["0.5", True, [], {}, HUGE, 1],
    "sparsity": _NO_NUMBERS,
    "valid_any": _NO_NUMBERS,
    "test_any": ["0.5", True, [], {}, HUGE, 1],
    "more": [1.0],
    "\ud800": [1.0],
}
_TEXTS = [
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP,
    "[]," * 10**6,
    "",
    "null",
    "5",
    "NaN",
    "-Infinity",
    '"state"',
    "[]",
    "{}",
    "9" * 5000,
    "[" + "9" * 4000 + "]",
    "1e999",
    '{"epoch":1} {}',
    "\ufeff{}",
    "{'epoch': 1}",
    '"' + "x" * 2**22 + '"',
]


def _state_value(path: Path, random: Random) -> str:
    name = random.choice(list(STATE_VALUES))
    value = random.choice(STATE_VALUES[name])
    _state(path, lambda values: values.update({name: value}))
    return f"{name} is {value!r:.60}"


def _state_best(path: Path, random: Random) -> str:
    name = random.choice(list(_BEST_VALUES))
    value = random.choice(_BEST_VALUES[name])
    _state(path, lambda values: values["best"].update({name: value}))
    return f"best.{name} is {value!r:.60}"


def _state_gain(path: Path, random: Random) -> str:
    value: Any = random.choice(
        ["0x1p99999", "nan", "inf", "-inf", "zz", None, 5, 1.5, True, [], {}, "", "0x0p+0", "-0x1p+0", "0x1.8p+700"]
    )
    _state(path, lambda values: values["gains"].update({random.choice(list(values["gains"])): value}))
    return f"a gain is {value!r}"


def _state_config(path: Path, random: Random) -> str:
    section, name, value = random.choice(
        [
            *(("model", "width", width) for width in (0, -1, "16", None, 16.0, True)),
            *(("run", "epochs", epochs) for epochs in (0, None, "x", math.nan)),
            *(("batch", "fan_out", fan_out) for fan_out in ("10", [1.5], [None], 3, [[10]], {"a": 1})),
            ("data", "name", ["digits"]),
            ("optim", "lr", HUGE),
            ("run", "more", 1),
            ("run", "\ud800", 1),
            ("more", "name", 1),
        ]
    )
    _state(path, lambda values: values["config"].setdefault(section, {}).update({name: value}))
    return f"config.{section}.{name!r} is {value!r:.60}"


def _state_fields(path: Path, random: Random) -> str:
    name = random.choice([*STATE_VALUES, "more", "\ud800", "__class__"])
    _state(path, lambda values: values.pop(name) and None if name in values else values.update({name: 1}))
    return f"{name!r} is missing or new"


def _state_text(path: Path, random: Random) -> str:
    text = random.choice(_TEXTS)
    write_state(path, text)
    return f"JSON {text!r:.40}"


def _state_form(path: Path, random: Random) -> str:
    """The checksum's own line."""
    head, _, text = path.read_text().partition("\n")
    digest = head.partition(" ")[0]
    heads = [digest, f"{digest} 2", f"{digest} 01", f"{digest}  1", f" {digest} 1", f"{digest.upper()}  1"]
    heads += [f"{digest} 1 ", f"{digest} \u0661", f"{digest} 1\r", "", f"\n{digest} 1", f"{digest} " + "1" * 10**6]
    head = random.choice(heads)
    replace(path, f"{head}\n{text}".encode())
    return f"first line {head!r:.80}"


STATE: list[Damage] = [
    *[_state_value] * 6,
    *[_state_best] * 2,
    _state_gain,
    _state_config,
    _state_fields,
    _state_text,
    _state_form,
]

# Of files of tensors


def parts(path: Path, kind: str) -> tuple[Header, Tensors]:
    """What a file holds."""
    return read_tensor_file(path, kind, "a file")


def checkpoint_tensors(kind: str) -> list[Damage]:
    """For `trained` or `optimizer`."""

    def write(path: Path, header: Header, tensors: Tensors, as_kind: str = kind) -> None:
        replace(path, tensor_file_bytes(tensors, header, as_kind))

    def change(path: Path, random: Random) -> str:
        header, tensors = parts(path, kind)
        name = random.choice([name for name in tensors if tensors[name].dim()])
        value = tensors[name]
        flat = value.clone()
        flat.view(-1)[random.randrange(flat.numel())] = random.choice((math.nan, math.inf, -math.inf))
        changed: list[tuple[str, Tensor | None]] = [
            ("left out", None),
            ("not finite", flat),
            ("one row less", value[:-1]),
            ("one axis more", value[None]),
            ("flat", value.reshape(-1)),
            ("empty", value[:0]),
            ("a number", value.sum()),
            ("turned", value.T if value.shape[0] != value.shape[1] else value[:-1]),
            *((str(dtype), value.to(dtype)) for dtype in (torch.float64, torch.float16, torch.bfloat16)),
            *((str(dtype), value.to(dtype)) for dtype in (torch.int64, torch.int8, torch.uint8, torch.bool)),
        ]
        told, new = random.choice(changed)
        del tensors[name]
        write(path, header, tensors if new is None else tensors | {name: new})
        return f"{name} {told}"

    def names(path: Path, random: Random) -> str:
        header, tensors = parts(path, kind)
        old, new = random.choice(list(tensors)), random.choice([*NAMES, "convs.99.lin.weight", "convs.0.lin.weight "])
        value = tensors.pop(old) if random.random() < 0.5 else tensors[old].clone()
        write(path, header, tensors | {new: value})
        return f"{old} (also) as {new!r:.40}"

    def all_of_it(path: Path, random: Random) -> str:
        header, tensors = parts(path, kind)
        told, new = random.choice(
            [("no tensors", {}), ("hundreds of tensors", tensors | {f"t{i}": torch.zeros(1) for i in range(300)})]
        )
        write(path, header, new)
        return told

    def headers(path: Path, random: Random) -> str:
        header, tensors = parts(path, kind)
        value: Any = random.choice([None, 5, "", [], {}, "step-00000040", "x" * 10**6, "a\nb", "\u0661", True])
        write(path, header | {"checkpoint": value} if random.random() < 0.9 else {}, tensors)
        return f"checkpoint is {value!r:.40}, or not told"

    def kinds(path: Path, random: Random) -> str:
        header, tensors = parts(path, kind)
        other = random.choice([name for name in ("trained", "optimizer", "ugts", "dense", "", "\n") if name != kind])
        write(path, header, tensors, other)
        return f"kind {other!r}"

    return [*[change] * 4, *[names] * 2, all_of_it, headers, kinds, *[raw_tensors] * 4]
