"""What the catalogue knows of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ugts_dist.graphs.graph import Graph


@dataclass(frozen=True)
class Dataset:
    """Where a dataset comes from.

    Attributes:
        read: from the folder of its raw files, its name and the number of a split to a checked graph.
        folder: of its raw files, below the root; a dataset that is made by the program has none.
        urls: address of each raw file.
        num_splits: how many splits it was published with; None: one is drawn for each number.
    """

    read: Callable[[Path, str, int], Graph]
    folder: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    num_splits: int | None = None
