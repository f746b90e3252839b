"""The options of `ugts doctor`. This module imports nothing heavy, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ugts_dist.config_limits import require


@dataclass(frozen=True)
class DoctorOptions:
    """Show versions, devices, memory, sampler back ends and data, and run a self-test; exit code 1 if one fails."""

    root: str = ""
    """A folder with raw files of datasets, in addition to $UGTS_DATA and the download folder."""
    stores: str = ""
    """Folder with graph stores. Empty: $UGTS_STORES; if that is not set, ~/.cache/ugts_dist/stores."""
    quick: bool = False
    """Skip the self-test."""
    json: bool = False
    """Print JSON instead of tables."""
    timeout: float = 60.0
    """Seconds for each check; a slower one counts as failed."""

    def __post_init__(self) -> None:
        require(self.timeout > 0, "--timeout", self.timeout, "above 0")
        for name, folder in (("--root", self.root), ("--stores", self.stores)):
            require(not folder or Path(folder).is_dir(), name, folder, "a folder that exists")
