"""Probes for what is there to work with: raw files of datasets, prepared graph stores.

Each function runs in a process of its own (see `isolated`), takes and returns what JSON can carry, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, store
from ugts_dist.graphs.files import missing
from ugts_dist.graphs.store_check import is_checked

_READ_BYTES = 2**32


def datasets(roots: Sequence[str]) -> list[dict[str, Any]]:
    """For each name of the catalogue and each root that has any of its raw files: the folder and what is missing.

    A dataset that is nowhere has one entry with an empty folder; one without raw files (`embedded`) needs none.
    """
    entries: list[dict[str, Any]] = []
    for name in catalogue.NAMES:
        folder, files = catalogue.raw_files(name)
        if not files:
            entries.append({"name": name, "folder": "", "missing": [], "state": "embedded"})
            continue
        present = []
        for root in roots:
            place = Path(root, folder)
            absent = missing(place, files)
            if len(absent) < len(files):
                state = "incomplete" if absent else "complete"
                present.append({"name": name, "folder": str(place), "missing": list(absent), "state": state})
        entries += present or [{"name": name, "folder": "", "missing": [], "state": "not found"}]
    return entries


def stores(folder: str) -> list[dict[str, Any]]:
    """Every graph store in a folder: its counts, or why it does not open.

    Arrays that no run has checked are read, but for those of large stores, which would take minutes.
    """
    entries: list[dict[str, Any]] = []
    for place in sorted(path for path in Path(folder).glob("*") if store.is_store(path)):
        size = sum(path.stat().st_size for path in place.iterdir())
        try:
            is_read = size <= _READ_BYTES or is_checked(place)
            graph = store.open_store(place, remember=False) if is_read else store.describe_store(place)
        except InputError as error:
            entries.append({"folder": str(place), "problem": str(error)})
            continue
        entries.append(
            {
                "folder": str(place),
                "problem": "",
                "name": graph.name,
                "num_nodes": graph.num_nodes,
                "num_edges": graph.num_edges,
                "num_features": graph.num_features,
                "num_classes": graph.num_classes,
                "bytes": size,
            }
        )
    return entries
