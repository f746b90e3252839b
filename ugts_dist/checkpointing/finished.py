"""Finished runs that searches and reproductions reuse, provided that their data are unchanged."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ugts_dist.checkpointing.identity import data_of_finished
from ugts_dist.config import Config
from ugts_dist.config_features import RAW
from ugts_dist.errors import InputError
from ugts_dist.graphs import molecules
from ugts_dist.graphs.checksum import DataChecksum, with_digests
from ugts_dist.graphs.configured import disturbed, load_data, load_undisturbed, node_split
from ugts_dist.graphs.graph import Graph

_log = logging.getLogger(__name__)


def refuse_other_data(runs: Iterable[tuple[Path, Config]], allowed: str) -> None:
    """Compare the data of finished runs, given by folder and configuration, with the configured data of today.

    Runs whose data are unknown or not available are accepted; a note says how many. Raises InputError for the first run
    on other data; its message ends with `allowed`.
    """
    checksums, unknown = _Checksums(), 0
    for folder, config in runs:
        before, now = data_of_finished(folder), checksums.of(config)
        if before is None or now is None:
            unknown += 1
        elif differing := before.difference(now):
            raise InputError(
                f"{folder}: a finished run on other data, {differing} differ (SHA-256 {before.sha256}, "
                f"now {now.sha256}); allowed are the same data as before, or {allowed}"
            )
    if unknown:
        _log.warning(
            f"note: the data of {unknown} finished run(s) can't be compared with the current data; they are reused"
        )


class _Checksums:
    """Checksums of configured data. For consecutive runs on one graph, it is read once."""

    def __init__(self) -> None:
        self._known: dict[object, DataChecksum | None] = {}
        self._graph: tuple[object, Graph] | None = None

    def of(self, config: Config) -> DataChecksum | None:
        """The checksum; None if the data are not available."""
        data = config.data
        drawn = data.feature_noise or data.edge_noise or data.left_out
        key = (data, _place(config), config.run.seed if drawn else 0)
        if key not in self._known:
            try:
                self._known[key] = self._computed(config)
            except InputError:
                self._known[key] = None
        return self._known[key]

    def _computed(self, config: Config) -> DataChecksum:
        data = config.data
        if data.name in molecules.FOLDERS:
            return DataChecksum.of(load_data(config))
        place = _place(config)
        if self._graph is None or self._graph[0] != place:
            self._graph = (place, with_digests(load_undisturbed(config)))
        return DataChecksum.of(disturbed(self._graph[1], config)[0])


def _place(config: Config) -> tuple[object, ...]:
    """What determines the graph before noise, and whether it may lack labels: only link prediction needs none."""
    data, needs_labels = config.data, config.task.kind != "link"
    return (data.name, data.root, node_split(config), needs_labels, data.features in RAW, data.edge_weights)
