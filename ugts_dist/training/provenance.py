"""What a saved network tells of where it comes from."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

import ugts_dist
from ugts_dist.graphs.checksum import checksum
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet


class Provenance:
    """Checksum of the data, and the versions; found out by a thread, since large data take seconds."""

    def __init__(self, data: Graph | GraphSet) -> None:
        thread = ThreadPoolExecutor(1, "checksum")
        self._checksum: Future[str] = thread.submit(checksum, data)
        thread.shutdown(wait=False)
        self._data = data

    def describe(self) -> dict[str, Any]:
        """Plain values, for JSON; waits for the thread."""
        data = self._data
        found = {"name": data.name, "sha256": self._checksum.result(), "num_nodes": data.x.shape[0]}
        return {"data": found, "ugts_dist": ugts_dist.__version__, "torch": torch.__version__}
