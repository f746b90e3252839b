"""Tickets and dense networks by somebody who can compute checksums."""

from __future__ import annotations

import zlib
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save

from tests.faults.damaged_bytes import Damage, replace
from tests.faults.hostile import Header, Tensors, parts
from tests.faults.hostile_headers import HUGE, NAMES, raw_tensors
from ugts_dist.supermask.ticket_file import read_ticket_file, ticket_file_bytes
from ugts_dist.tensor_file import tensor_file_bytes

_NO_OBJECTS: list[Any] = [None, 5, [], "x", True, 1.5]

_TICKET_VALUES: dict[str, list[Any]] = {
    "format_version": [0, 1, 2, 3, 5, 255],
    "seed": [None, "3", True, 3.0, 2**64, HUGE, [], -(2**63) - 1, 12345],
    "weight_init": ["xavier", None, 5, [], "", "x" * 10**5, "uniform", "os.system"],
    "fingerprint": ["0" * 16, "0" * 15, "0" * 64, "", None, 5, "g" * 16, "\u0660" * 16, "0" * 10**5],
    "weights": [*_NO_OBJECTS, {}, {"a": None}, {"a": []}, {"a": [[1, 1], 0, "0x1p+0", "0x1p+0"]}],
    "config": [*_NO_OBJECTS, {}, {"model": 5}, {"more": {}}],
    "metrics": [
        *_NO_OBJECTS,
        {"test": "0.5"},
        {"test": None},
        {"test": True},
        {"test": HUGE},
        {"test": []},
    ],
    "provenance": _NO_OBJECTS,
    "form": [
        *_NO_OBJECTS,
        {},
        {"coats": 1},
        {"coats": 2},
        {"coats": 65},
        {"coats": HUGE},
        {"coats": "2"},
        {"pruned": 0.5},
        {"more": 1},
    ],
    "fold": [*_NO_OBJECTS, [[]], [["a", "b"]], ["ab"], [[HUGE, 1]], [["a"] * 10**5]],
    "more": [1],
}
_ENTRIES: dict[int, list[Any]] = {
    0: [
        *([2**20, 2**20], [2**39, 2**39], [46000, 46000], [2**40, 1], [-8, -8], [0, 8], [8], [], [8.0, 8], "8"),
        *([HUGE, 1], [True, True], [[8], [8]], None, [1] * 17, {"a": 1}),
    ],
    1: [-1, 10**9, 2**62, HUGE, 5.0, True, "12", None, [], 1],
    2: ["nan", "inf", "0x1p+9999", "x", "", None, 1.5, [], "0x1p-3", "9" * 10**4],
    3: ["nan", "inf", "-inf", "0x1p+9999", "x", "", None, 1.5, []],
}
_CONFIGS: list[tuple[str, str, Any]] = [
    *(("model", "width", value) for value in (0, -1, 17, 10**9, 2**62, HUGE, "16", 16.0, None, True)),
    *(("model", "depth", value) for value in (0, -1, 1, 3, 10**6, 10**12, HUGE, "2", None)),
    *(("model", "arch", value) for value in ("transformer", None, 5, ["gcn"], "../gcn", "gat", "gin")),
    *(("model", "heads", value) for value in (0, -1, None, "1")),
    *(("batch", "fan_out", value) for value in ("10", [1.5], [None], [10], [HUGE, "x"])),
    ("supermask", "method", "os.system"),
    *(("optim", "lr", value) for value in (HUGE, "x" * 10**5, None, 0, -1.0)),
    ("model", "arch", "x" * 10**5),
    ("model", "x" * 10**5, 1),
    ("data", "split", -1),
    ("more", "name", 1),
    ("model", "more", 1),
    ("model", "__init__", 1),
]


def _write(path: Path, header: Header, tensors: Tensors, kind: str) -> None:
    replace(path, tensor_file_bytes(tensors, header, kind))


def _config(header: Header, random: Random) -> str:
    section, name, value = random.choice(_CONFIGS)
    header["config"].setdefault(section, {})[name] = value
    return f"config.{section}.{name} is {value!r:.40}"


def _write_ticket(path: Path, header: Header, tensors: Tensors) -> None:
    replace(path, ticket_file_bytes(header, tensors))


def _ticket_value(path: Path, random: Random) -> str:
    header, tensors = read_ticket_file(path)
    name = random.choice(list(_TICKET_VALUES))
    value = random.choice(_TICKET_VALUES[name])
    if header.get(name) == value and type(header.get(name)) is type(value):
        value = None
    _write_ticket(path, header | {name: value}, tensors)
    return f"{name} is {value!r:.60}"


def _ticket_weight(path: Path, random: Random) -> str:
    header, tensors = read_ticket_file(path)
    name, place = random.choice(list(header["weights"])), random.randrange(4)
    value = random.choice(_ENTRIES[place])
    header["weights"][name][place] = value
    if random.random() < 0.1:
        header["weights"][name].append(1)
    _write_ticket(path, header, tensors)
    return f"entry {place} of {name} is {value!r:.60}"


def _ticket_config(path: Path, random: Random) -> str:
    header, tensors = read_ticket_file(path)
    told = _config(header, random)
    _write_ticket(path, header, tensors)
    return told


def _ticket_missing(path: Path, random: Random) -> str:
    header, tensors = read_ticket_file(path)
    name = random.choice([name for name in header if name != "format_version"])
    del header[name]
    _write_ticket(path, header, tensors)
    return f"without {name}"


def _ticket_tensors(path: Path, random: Random) -> str:
    header, tensors = read_ticket_file(path)
    masks = tensors["masks"]
    changes: list[tuple[str, Any]] = [
        ("masks cut", masks[:-3]),
        ("masks longer", torch.cat([masks, masks])),
        ("no bytes of masks", masks[:0]),
        ("bytes of another mask", torch.full_like(masks, 255)),
    ]
    told, value = random.choice(changes)
    others = {name: tensor for name, tensor in tensors.items() if name != "masks"}
    if random.random() < 0.3:
        told, value = "another tensor", masks
        others[random.choice([*NAMES, "unmasked/more", "unmasked/"])] = torch.zeros(2)
    _write_ticket(path, header, others | {"masks": value})
    return told


def _ticket_packed(path: Path, random: Random) -> str:
    """Replace what is packed into one tensor."""
    data = load(path.read_bytes())
    packed = data["ugts"]
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    bytes_of_bomb = b"\x04" + bytes(8) + bomb.compress(b" " * 2**26) + bomb.flush()
    told, value = random.choice(
        [
            ("none", None),
            ("of int16", packed.to(torch.int16)),
            ("of two axes", packed[None]),
            ("empty", packed[:0]),
            ("a version alone", packed[:1]),
            ("cut in its checksum", packed[:5]),
            ("cut in its header", packed[:40]),
            ("the header of another", torch.cat([packed[:9], packed[20:]])),
            ("megabytes in few bytes", torch.frombuffer(bytearray(bytes_of_bomb), dtype=torch.uint8)),
        ]
    )
    others = {name: tensor for name, tensor in data.items() if name != "ugts"}
    replace(path, save(others if value is None else others | {"ugts": value}))
    return f"packed: {told}"


def _as_older(path: Path, random: Random) -> str:
    """The same content in a file of an older version, with something wrong."""
    header, tensors = read_ticket_file(path)
    version = random.choice((0, 1, 4, "2", 2.0, True, None, [2], HUGE, "2" * 10**5))
    told = header | {"format_version": version, "fingerprint": "0" * 64}
    _write(path, told, tensors, "ugts")
    return f"with metadata, of version {version!r:.40}"


def _dense_value(path: Path, random: Random) -> str:
    header, tensors = parts(path, "dense")
    name = random.choice(("config", "metrics"))
    value = random.choice(_TICKET_VALUES[name])
    _write(path, header | {name: value} if random.random() < 0.8 else {"provenance": {}}, tensors, "dense")
    return f"{name} is {value!r:.60}, or no header"


def _dense_config(path: Path, random: Random) -> str:
    header, tensors = parts(path, "dense")
    told = _config(header, random)
    _write(path, header, tensors, "dense")
    return told


def _dense_tensors(path: Path, random: Random) -> str:
    header, tensors = parts(path, "dense")
    name = random.choice(list(tensors))
    value = tensors.pop(name)
    told, new = random.choice(
        [
            ("left out", {}),
            ("renamed", {random.choice(NAMES): value}),
            ("twice", {name: value, random.choice(NAMES): value.clone()}),
            ("one row less", {name: value[:-1]}),
            ("flat", {name: value.reshape(-1)}),
            ("empty", {name: value[:0]}),
            ("one axis more", {name: value[None]}),
        ]
    )
    _write(path, header, tensors | new, "dense")
    return f"{name} {told}"


def _other_kind(path: Path, random: Random) -> str:
    is_ticket = path.suffix == ".ticket"
    header, tensors = read_ticket_file(path) if is_ticket else parts(path, "dense")
    other = random.choice(("trained", "dense" if is_ticket else "ugts", "", "\n"))
    _write(path, header, tensors, other)
    return f"kind {other!r}"


TICKET: list[Damage] = [
    *[_ticket_value] * 3,
    *[_ticket_weight] * 3,
    *[_ticket_config] * 2,
    _ticket_missing,
    *[_ticket_tensors] * 2,
    _ticket_packed,
    _as_older,
    _other_kind,
    *[raw_tensors] * 2,
]
DENSE: list[Damage] = [_dense_value, *[_dense_config] * 2, *[_dense_tensors] * 3, _other_kind, *[raw_tensors] * 2]
