"""Checkpoints: what they contain, how they are written, found and verified.

A checkpoint is a folder `checkpoints/step-00001200`, or `step-00001200-epoch-12` after the evaluation of epoch 12:

- `scores.safetensors`: the trained scores (of a dense network, its weights),
- `optimizer.safetensors`: Adam's moments and step of each,
- `best.ticket` (or `best.safetensors`): the best network so far,
- `state.json`: the rest, with a checksum of itself and of the best network's file.

Frozen weights are not saved: they follow from seed and gains, and their fingerprint is checked. There is no generator
state either: weights, batches, neighbours and dropout are functions of (seed, step, node). A folder is written under a
temporary name, flushed to disk and renamed. No pickle is ever read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from ugts_dist.atomic import flush, write_text
from ugts_dist.checkpointing.state import Checkpoint, Tensors
from ugts_dist.errors import InputError
from ugts_dist.tensor_file import read_tensor_file, write_tensor_file
from ugts_dist.text_files import open_regular

FORMAT = 1
FOLDER = "checkpoints"
_NAME = re.compile(r"step-([0-9]{8,18})(-epoch-[0-9]+)?")
_TENSOR_FILES = {"trained": "scores.safetensors", "optimizer": "optimizer.safetensors"}
_STATE_BYTES = 2**22  # of a state.json, which has some kilobytes
_BEST_BYTES = 2**36  # of a network's file
_DAMAGE = (OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError, RecursionError)


def write(folder: Path, state: Checkpoint, best: Path | None) -> Path:
    """Write a checkpoint of the run in `folder`, flush and rename it; `best` is the best network's current file.

    A valid checkpoint of the same step is left as it is, since replacing it would leave none for a moment.

    Raises OSError, and leaves the folder as it was, if it can't be written.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    path, temporary = place / state.name, place / f".{state.name}.{os.getpid()}"
    if _is_there(path, state):
        return path
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for kind, name in _TENSOR_FILES.items():
            write_tensor_file(temporary / name, state.tensors[kind], {"checkpoint": state.name}, kind)
        if best is not None:
            _link(best, temporary / best.name)
            state = dataclasses.replace(state, best_file=best.name, best_sha256=_sha256(temporary / best.name))
        text = json.dumps(state.to_json(), separators=(",", ":"), allow_nan=False)
        write_text(temporary / "state.json", f"{_digest(text)} {FORMAT}\n{text}\n")
        flush(temporary)
        if path.exists():  # it was damaged and skipped by the resumed run, which now writes it again
            shutil.rmtree(path)
        temporary.rename(path)
        flush(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises InputError, in one line, for a damaged or missing one."""
    state = _read_state(path)
    tensors: Tensors = {}
    for kind, name in _TENSOR_FILES.items():
        header, tensors[kind] = read_tensor_file(path / name, kind, "a part of a checkpoint")
        if header.get("checkpoint") != state.name:
            owner = f"{header.get('checkpoint')!r:.99}"
            raise InputError(f"{path / name}: belongs to checkpoint {owner}, not to {state.name}")
        for tensor, value in tensors[kind].items():
            if value.dtype != torch.float32 or not bool(value.isfinite().all()):
                raise InputError(f"{path / name}: {tensor!r:.99} is {value.dtype}, allowed are finite float32")
    if state.best_file:
        _check_best(path / state.best_file, state.best_sha256)
    return dataclasses.replace(state, tensors=tensors, path=path)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint of a run's folder, and the problems of the newer ones."""
    return _newest_valid(folders(folder))


def _newest_valid(paths: Sequence[Path]) -> tuple[Checkpoint | None, list[str]]:
    problems: list[str] = []
    for path in reversed(paths):
        try:
            return read(path), problems
        except InputError as error:
            problems.append(str(error))
    return None, problems


def newest_state(folder: Path) -> Checkpoint | None:
    """The newest checkpoint with an intact `state.json`, without its tensors; None if there is none."""
    for path in reversed(folders(folder)):
        with suppress(InputError):
            return _read_state(path)
    return None


def at(path: Path, best: bool = False) -> Checkpoint:
    """The checkpoint at `path`. For the folder of a run: the newest valid one, or that of the best epoch.

    Raises InputError if there is none.
    """
    if (path / "state.json").exists() or not path.is_dir():
        return read(path)
    state, problems = _newest_valid([one for one in folders(path) if not best or _is_best(one)] or folders(path))
    if state is None:
        raise InputError("; ".join([f"{path}: no valid checkpoint in this folder", *problems]))
    return state


def folders(folder: Path) -> list[Path]:
    """The checkpoints of a run's folder, oldest first, whether valid or not."""
    place = folder / FOLDER
    entries = list(place.iterdir()) if place.is_dir() else []
    return sorted((entry for entry in entries if _NAME.fullmatch(entry.name)), key=lambda entry: _order(entry.name))


def _order(name: str) -> tuple[int, bool]:
    """The sort key: steps, then before or after the evaluation."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), match[2] is not None


def prune(folder: Path, written: str, keep_last: int) -> None:
    """Remove checkpoints older than the last `keep_last` up to `written`, except the best epoch's.

    Checkpoints newer than `written` were damaged when the run resumed. They stay for inspection. Temporary files of
    killed writers are removed.
    """
    paths = [path for path in folders(folder) if _order(path.name) <= _order(written)]
    best = [path for path in paths if _is_best(path)][-1:]
    for path in paths[: max(0, len(paths) - keep_last)]:
        if path not in best:
            shutil.rmtree(path, ignore_errors=True)
    for path in (folder / FOLDER).glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _read_state(path: Path) -> Checkpoint:
    file = path / "state.json"
    try:
        with open_regular(file) as opened:
            data = opened.read(_STATE_BYTES + 1)
        if len(data) > _STATE_BYTES:
            raise ValueError(f"more than {_STATE_BYTES} bytes")
        head, _, text = data.decode().partition("\n")
        digest, _, version = head.partition(" ")
        text = text[:-1]
        if not data.endswith(b"\n") or digest != _digest(text):
            raise ValueError("its checksum is wrong")
        if version != str(FORMAT):
            raise ValueError(f"format {version[:20]!r}, allowed is {FORMAT}")
        state = Checkpoint.from_json(json.loads(text, parse_constant=_no_constant))
        if state.name != path.name:
            raise ValueError(f"it belongs to {state.name}")
    except FileNotFoundError:
        raise InputError(f"{path}: not a checkpoint, it has no state.json") from None
    except _DAMAGE as error:
        description = "".join(c if c.isprintable() else "?" for c in f"{type(error).__name__}: {error}"[:200])
        raise InputError(f"{file}: damaged ({description})") from None
    return state


def _is_best(path: Path) -> bool:
    try:
        return _read_state(path).is_best
    except InputError:
        return False


def _check_best(file: Path, digest: str) -> None:
    try:
        if file.stat().st_size > _BEST_BYTES or _sha256(file) != digest:
            raise InputError(f"{file}: damaged (its checksum is wrong)")
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror})") from None


def _link(source: Path, target: Path) -> None:
    """Link the file, which is never changed but only replaced; copy it if the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def _is_there(path: Path, state: Checkpoint) -> bool:
    try:
        known = read(path) if path.exists() else None
    except InputError:
        return False
    return known is not None and known.config == state.config and known.data in (None, state.data)


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a buffered reader


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
