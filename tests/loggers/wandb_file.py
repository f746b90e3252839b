"""Reads the file of an offline run of Weights & Biases: records in blocks, as LevelDB's log has them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
FULL, LAST = 1, 4


def records(file: Path) -> Iterator[Any]:
    """Every record of the file."""
    from wandb.proto import wandb_internal_pb2

    data, at, record = file.read_bytes(), 7, b""
    while at < len(data):
        if BLOCK - at % BLOCK < 7:  # too small for a header
            at += BLOCK - at % BLOCK
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def values(items: Any) -> dict[str, Any]:
    """The values of a configuration, an epoch or a summary."""
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}
