"""A store with one host's share of the features: the file `x.npy` has a hole in place of all other rows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ugts_dist.errors import InputError
from ugts_dist.graphs.feature_share import LOOKED_AT, SAMPLE, FeatureShare, every_few
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.npy_file import NpyFile
from ugts_dist.graphs.store import describe_store
from ugts_dist.graphs.store_files import META, SHARE_VERSION, meta_sha256, read_header, read_meta, row_span, sha256
from ugts_dist.graphs.store_writer import StoreWriter

# For scripts: meta.json of the store that the share was cut from, as it was, and the share as users write it.
WHOLE_META, SHARE_TEXT = "whole.json", "share.txt"

_BLOCK = 1 << 22  # bytes that are copied at once


def parse_share(text: str) -> tuple[int, int]:
    """Number, from 0 on, and count of "2/3". Raises InputError."""
    part, separator, parts = text.partition("/")
    known = separator and all(each.isascii() and each.isdigit() and len(each) < 10 for each in (part, parts))
    if not known or not 1 <= int(part) <= int(parts):
        raise InputError(f"--share: {text!r:.40}; allowed: I/N, such as 2/3, with I from 1 to N, the number of hosts")
    return int(part) - 1, int(parts)


def write_share(store: Path, folder: Path, part: int, parts: int) -> None:
    """Write the share with a number, from 0 on, of a whole store, and everything else of it.

    All files but the features are compared with their SHA-256. Features of other nodes are not read: verify the whole
    store once. Raises InputError.
    """
    meta = read_meta(store)
    if meta.share is not None:
        raise InputError(f"{store}: has share {meta.share.part + 1}/{meta.share.parts} only; allowed: a whole store")
    whole = describe_store(store)
    if parts > whole.num_nodes:
        raise InputError(f"--share: {part + 1}/{parts}; allowed: at most one for each of {whole.num_nodes:,} nodes")
    share = FeatureShare.of(part, parts, whole.num_nodes, every_few(whole.x, LOOKED_AT).float())
    with StoreWriter(folder, meta.name, meta.num_classes) as writer:
        target = writer.temporary
        for array, (_, _, digest) in (meta.arrays | meta.extra_arrays).items():
            if array != "x":
                _copy(store / f"{array}.npy", target / f"{array}.npy", digest)
        rows = _copy_rows(store / "x.npy", target / "x.npy", share)
        with NpyFile(target / f"{SAMPLE}.npy", np.dtype(np.float32), (whole.num_features,)) as file:
            file.append(share.sample.numpy())
        shutil.copyfile(store / META, target / WHOLE_META)
        (target / SHARE_TEXT).write_text(f"{share}\n", encoding="utf-8")
        content = json.loads((store / META).read_text(encoding="utf-8"))
        writer.publish(_described(content, share, rows, target / f"{SAMPLE}.npy"))


def _described(content: dict[str, Any], share: FeatureShare, rows: str, sample: Path) -> dict[str, Any]:
    """The contents of meta.json: those of the whole store and the share, whose rows have a SHA-256."""
    described = {"dtype": "float32", "shape": list(read_header(sample)[0]), "sha256": sha256(sample)}
    meta = content | {
        "version": SHARE_VERSION,
        "share": {"part": share.part, "parts": share.parts, "sha256": rows},
        "extra_arrays": content.get("extra_arrays", {}) | {SAMPLE: described},
    }
    del meta["sha256"]
    return meta | {"sha256": meta_sha256(meta)}


def _copy(source: Path, target: Path, digest: str) -> None:
    found = hashlib.sha256()
    with reading(source), source.open("rb") as file, target.open("xb") as copy:
        _copied(file, copy, os.fstat(file.fileno()).st_size, found)
    if found.hexdigest() != digest:
        raise InputError(f"{source}: changed since written (SHA-256 differs); prepare the graph again")


def _copy_rows(source: Path, target: Path, share: FeatureShare) -> str:
    """Copy the header and the rows of a share, each to its place. Returns the SHA-256 of the rows."""
    found = hashlib.sha256()
    with reading(source), source.open("rb") as file, target.open("xb") as copy:
        begin, end, header = row_span(source, share.start, share.stop)
        _copied(file, copy, header, hashlib.sha256())
        for each in (file, copy):
            each.seek(begin)
        _copied(file, copy, end - begin, found)
        copy.truncate(os.fstat(file.fileno()).st_size)
    return found.hexdigest()


def _copied(source: BinaryIO, target: BinaryIO, size: int, digest: Any) -> None:
    while size:
        block = source.read(min(size, _BLOCK))
        if not block:
            raise EOFError("it ends too early")
        digest.update(block)
        target.write(block)
        size -= len(block)
