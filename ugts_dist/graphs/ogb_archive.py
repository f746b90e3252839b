"""What the archives of OGB's node graphs have in common (Hu et al. 2020, arXiv:2005.00687)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import missing
from ugts_dist.graphs.row_files import open_table
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.tables import Table


@dataclass(frozen=True)
class Archive:
    """An archive of one graph.

    Attributes:
        folder: what it is unpacked as.
        split: OGB's name of the standard split.
        num_classes: of the labels.
        file: the name of the archive.
    """

    folder: str
    split: str
    num_classes: int
    file: str

    def unpacked(self, name: str, root: Path, files: Sequence[str]) -> Path:
        """The folder below `root`/ogb. Raises InputError that names all missing files, those of the split included."""
        folder = root / "ogb" / self.folder
        if absent := missing(folder, (*files, *map(self._split_file, SPLITS))):
            raise InputError(
                f"{folder}: {name} needs {', '.join(absent)} there; unpack OGB's {self.file} "
                f"(snap.stanford.edu/ogb/data/nodeproppred/{self.file}) as {self.folder}, or name another --root"
            )
        return folder

    def splits(self, folder: Path) -> dict[str, Table]:
        """The nodes of the standard split."""
        return {split: open_table(folder / self._split_file(split), "ids") for split in SPLITS}

    def _split_file(self, split: str) -> str:
        return f"split/{self.split}/{split}.csv.gz"
