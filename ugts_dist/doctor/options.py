"""What `ugts doctor` may be told. Nothing heavy is imported here, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ugts_dist.config_limits import require


@dataclass(frozen=True)
class DoctorOptions:
    """Versions, devices, memory, sampler back ends, data found, and a self-test; exit code 1 where one fails."""

    root: str = ""
    """A folder with raw files of datasets, looked at beside $UGTS_DATA and the download folder."""
    stores: str = ""
    """Folder with graph stores. Empty: $UGTS_STORES, or else ~/.cache/ugts_dist/stores."""
    quick: bool = False
    """Leave the self-test out."""
    json: bool = False
    """Print JSON instead of tables."""
    timeout: float = 60.0
    """Seconds that each check may take; what takes longer has failed."""

    def __post_init__(self) -> None:
        require(self.timeout > 0, "--timeout", self.timeout, "above 0")
        for name, folder in (("--root", self.root), ("--stores", self.stores)):
            require(not folder or Path(folder).is_dir(), name, folder, "a folder that exists")
