"""Files of a network in the folder of its run."""

from __future__ import annotations

from pathlib import Path

from ugts_dist.errors import InputError

TICKET, DENSE = "best.ticket", "best.safetensors"


def network_file(path: Path, *names: str) -> Path:
    """The file itself, or the first of `names` that the folder of a run has; without names a ticket or dense network.

    Raises InputError where the folder has none of them.
    """
    names = names or (TICKET, DENSE)
    if not path.is_dir():
        return path
    for name in names:
        if (path / name).exists():
            return path / name
    raise InputError(f"{path}: no {' or '.join(names)} in this folder")
