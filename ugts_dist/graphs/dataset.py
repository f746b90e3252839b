"""The catalogue's entry of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ugts_dist.graphs.graph import Graph


@dataclass(frozen=True)
class Dataset:
    """Where a dataset comes from.

    Attributes:
        read: makes a checked graph from the folder of the raw files, the name and the number of a split.
        folder: of its raw files, below the root; empty for embedded datasets.
        urls: address of each raw file.
        num_splits: number of published splits; None: splits are drawn, one for each number.
    """

    read: Callable[[Path, str, int], Graph]
    folder: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    num_splits: int | None = None
