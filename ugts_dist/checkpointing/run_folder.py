"""The folder of a run: created, or found again to resume; one process at a time holds it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import RawIOBase
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_file, write_text
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.folder_names import (
    LAUNCH,
    is_fresh,
    is_of_this_launch,
    launch_id,
    name_of,
    named_folder,
    new_folder,
    stopped_before,
)
from ugts_dist.checkpointing.identity import (
    Identity,
    Resume,
    changes,
    data_of_newest,
    identity_of,
    note_override,
    refuse_differences,
    refuse_other,
    refuse_other_finished,
    settings_of,
)
from ugts_dist.checkpointing.result_file import read_result
from ugts_dist.checkpointing.state import Checkpoint
from ugts_dist.errors import InputError, InUseError

_TEMPORARY = re.compile(r"\.(config|launch|loggers|metrics|override|result|best)\..*[a-z]\.[0-9]+")
_LOCK_SECONDS = 60.0  # for a run that was told to stop, to save and end


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, held by this process.

    Attributes:
        start: the checkpoint to resume from; None at the beginning.
        result: of the run, if it is finished.
        notes: messages to the user, such as damaged checkpoints.
    """

    path: Path
    start: Checkpoint | None = None
    result: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_folder(own: Identity, resume: Resume) -> Iterator[RunFolder]:
    """Lock the run's folder, and find the checkpoint to resume from. Main rank only.

    Raises InputError for a folder of another run or in use, and for a checkpoint of another configuration or of other
    data.
    """
    config = own.config
    resume.check()
    source = None if resume.source in ("auto", "never") else checkpoint.at(Path(resume.source))
    if source is not None:
        refuse_other(source.path, Identity.of_checkpoint(source, source.path), own, resume.override)
    with ExitStack() as stack:
        path, notes = _held(own, resume, stack)
        if launch_id() and not is_of_this_launch(path):
            write_text(path / LAUNCH, json.dumps({"id": launch_id()}))  # restarts of this launch resume here
        if not (path / "config.toml").exists():
            write_text(path / "config.toml", config.to_toml())
        _remove_temporary(path)
        opened = _opened(path, own, resume, source)
        if opened.result is None:
            _go_on(opened, own)
        yield replace(opened, notes=notes + opened.notes)


def _held(own: Identity, resume: Resume, stack: ExitStack) -> tuple[Path, list[str]]:
    """The folder of the run, locked until the stack closes, and notes about the choice."""
    notes: list[str] = []
    path = named_folder(own.config, resume)
    if path is None and resume.source == "auto":
        path, notes = stopped_before(own)
        if path is not None:
            try:
                stack.enter_context(_locked(path, 0.0))
            except InUseError as error:
                path, notes = None, [f"{error}; this is another run"]
            else:
                return path, notes
    if path is None:
        path = new_folder(own.config.run.folder, name_of(own.config))
    stack.enter_context(_locked(path, _LOCK_SECONDS))
    return path, notes


@contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    """Lock the folder. The lock ends with the process, however that ends.

    Raises InUseError if another process still holds it after some seconds.
    """
    try:
        opened = open(path / ".lock", "ab+", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"run.folder is {path}, which can't be written ({error.strerror})") from None
    with opened as file:
        if holder := lock(file, seconds):
            raise InUseError(f"run.folder is {path}, in use by {holder}")
        yield


def lock(file: RawIOBase, seconds: float = 0.0) -> str:
    """Lock a file, opened with "ab+", until it is closed, and write this process into it.

    Returns the process that still holds it after some seconds; empty if this one has it.
    """
    deadline = time.monotonic() + seconds
    while not _try_lock(file.fileno()):
        if time.monotonic() > deadline:
            file.seek(0)
            return (file.read() or b"").decode(errors="replace").strip() or "another process"
        time.sleep(0.1)
    with suppress(OSError):  # a full disk; the next write reports it
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    return ""


def _remove_temporary(path: Path) -> None:
    """Remove files that were being written when a process was killed."""
    for entry in path.iterdir():
        if _TEMPORARY.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _opened(path: Path, own: Identity, resume: Resume, source: Checkpoint | None) -> RunFolder:
    """The folder with the checkpoint to resume from: its newest valid one, or `source` if it has none yet."""
    known = Identity(settings_of(path), data_of_newest(path))
    refuse_differences(str(path), known, own, resume.override)
    if (path / "result.json").exists() and not changes(known, own):
        result = read_result(path)
        refuse_other_finished(path, result, own, resume.override)
        return RunFolder(path, result=result)
    start, damaged = checkpoint.newest(path)
    start = source if start is None else start
    notes = [f"{problem}; this checkpoint is skipped" for problem in damaged]
    if start is not None:
        before = identity_of(start, path)
        refuse_other(start.path, before, own, resume.override)
        if before.data is None:
            notes.append(f"{start.path} has no checksum of its data: changes of the data since then can't be detected")
        epochs = own.config.run.epochs
        if start.epoch > epochs:
            raise InputError(f"run.epochs is {epochs}, allowed is {start.epoch} or more: {start.path}")
    return RunFolder(path, start, notes=notes)


def _go_on(opened: RunFolder, own: Identity) -> None:
    """Reset the folder to the checkpoint: remove metrics and best networks of later steps."""
    path, start, config = opened.path, opened.start, own.config
    if start is not None:
        note_override(start, path, own)
    if settings_of(path).changes(config):
        until = f"until-{start.name if start is not None else 'start'}"
        if (path / "result.json").exists():
            (path / "result.json").rename(path / f"result.{until}.json")
        write_file(path / f"config.{until}.toml", (path / "config.toml").read_bytes())
        write_text(path / "config.toml", config.to_toml())
    if start is None:
        (path / "metrics.jsonl").unlink(missing_ok=True)
        return
    source = start.path.parent.parent
    if (source / "metrics.jsonl").exists():
        lines = (source / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _epoch_of(line) < start.epoch]
        write_text(path / "metrics.jsonl", "".join(f"{line}\n" for line in kept))
    if start.best_file:
        write_file(path / start.best_file, (start.path / start.best_file).read_bytes())


def _epoch_of(line: str) -> float:
    """The epoch of a line of metrics; infinite for a truncated line."""
    try:
        return int(json.loads(line)["epoch"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return float("inf")


def remove_if_new(opened: RunFolder) -> None:
    """Remove the folder of a run that never began."""
    if is_fresh(opened.path):
        shutil.rmtree(opened.path)
