"""Files of a network in the folder of its run."""

from __future__ import annotations

from pathlib import Path

from ugts_dist.errors import InputError

TICKET, DENSE = "best.ticket", "best.safetensors"


def network_file(path: Path, *names: str) -> Path:
    """`path` itself if it is a file, or the first of `names` in the folder of a run; by default a ticket or network.

    Raises InputError if the folder has none of them.
    """
    names = names or (TICKET, DENSE)
    if not path.is_dir():
        return path
    for name in names:
        if (path / name).exists():
            return path / name
    raise InputError(f"{path}: no {' or '.join(names)} in this folder")
