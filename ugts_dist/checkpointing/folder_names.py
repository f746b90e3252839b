"""The folder that a run writes to: the configured one, one that it has begun before, or a new one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.identity import Identity, Resume, settings_of
from ugts_dist.config import Config
from ugts_dist.errors import InputError

LAUNCH = "launch.json"


def new_folder(folder: str, name: str) -> Path:
    """Create `folder`, which must not exist; if it is empty, a new folder under runs/. Nothing is overwritten.

    Raises InputError if it exists or can't be created.
    """
    number = 1
    while True:
        path = Path(folder) if folder else Path("runs", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if folder:
                raise InputError(f"run.folder is {folder}, which exists; allowed is a new folder") from None
            number += 1
        except OSError as error:
            raise InputError(f"run.folder is {path}, which can't be created ({error.strerror})") from None
        else:
            return path


def name_of(config: Config) -> str:
    """The name of a run's folder under runs/. Further folders of this name end in -2, -3, ..."""
    return f"{config.data_name}-{config.model.title}-{config.label}-seed{config.run.seed}"


def named_folder(config: Config, resume: Resume) -> Path | None:
    """The existing folder in which the run has to resume: `run.folder`, or the one that this launch has created before.

    Raises InputError if `run.folder` is not the folder of a run.
    """
    folder = config.run.folder
    # `never` refers to runs of earlier launches: a launcher restarts its ranks in the folder that they created.
    if folder and Path(folder).is_dir() and (resume.source != "never" or is_of_this_launch(Path(folder))):
        if not _is_ours(Path(folder)):
            raise InputError(f"run.folder is {folder}, which exists; allowed is a new folder, or that of a run")
        return Path(folder)
    return None if folder else _of_this_launch(config)


def stopped_before(own: Identity) -> tuple[Path | None, list[str]]:
    """The newest resumable run of the same configuration under runs/, and notes about it.

    Only for an empty `run.folder`: the same command then resumes what it has begun.
    """
    known = [] if own.config.run.folder else sorted(_of_same_configuration(own.config))
    if not known:
        return None, []
    folder = known[-1][-1]
    if (folder / "result.json").exists():
        return None, [f"{folder} is finished; this is a new run"]
    state = checkpoint.newest_state(folder)
    if state is None and (folder / "metrics.jsonl").exists():
        return None, [f"{folder} has no checkpoint to resume from; this is a new run"]
    if state is not None and state.data is not None and own.data is not None:
        differing = state.data.difference(own.data)
        if differing:
            return None, [f"{folder} was begun on other data ({differing} differ); this is a new run"]
    return folder, [f"{folder} was begun by the same command; for a new run instead: --resume never"]


def _of_same_configuration(config: Config) -> Iterator[tuple[float, int, Path]]:
    """Start time, number and folder of each run."""
    pattern = re.compile(re.escape(name_of(config)) + "(?:-([0-9]{1,9}))?")
    for folder in Path("runs").iterdir() if Path("runs").is_dir() else ():
        match = pattern.fullmatch(folder.name)
        with suppress(InputError, OSError):  # not a folder of this program
            if match and not settings_of(folder).changes(config):
                yield (folder / "config.toml").stat().st_mtime, int(match[1] or 1), folder


def _is_ours(folder: Path) -> bool:
    """Whether a run was written here or was about to be: a kill can leave the folder without its first file."""
    return (folder / "config.toml").exists() or is_fresh(folder)


def is_fresh(folder: Path) -> bool:
    """Whether the folder has no other files than the first ones of a run."""
    own = (".lock", "config.toml", LAUNCH, ".config.toml.", ".launch.json.")
    loggers = ("events.out.tfevents.", "wandb", "loggers.json", ".loggers.json.")
    return all(entry.name.startswith((*own, *loggers)) for entry in folder.iterdir())


def launch_id() -> str:
    """torchrun's id of this launch, the same for all restarts; empty if it has none."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return "" if name == "none" else name


def _of_this_launch(config: Config) -> Path | None:
    """The unfinished folder that this launch created before the launcher restarted its processes."""
    for file in Path("runs").glob(f"*/{LAUNCH}"):
        folder = file.parent
        if not is_of_this_launch(folder) or (folder / "result.json").exists():
            continue
        with suppress(InputError):  # no readable configuration: not a folder of this program
            if not settings_of(folder).changes(config):
                return folder
    return None


def is_of_this_launch(folder: Path) -> bool:
    """Whether the last launch that wrote to the folder is this one."""
    try:
        known = json.loads((folder / LAUNCH).read_text(encoding="utf-8"))["id"]
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return bool(launch_id()) and known == launch_id()
