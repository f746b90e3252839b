"""The data of finished runs, compared with those of today."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.graphs.link_graphs import link_graph
from ugts_dist.checkpointing.finished import _Checksums
from ugts_dist.config import Config
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.store_writer import write_store

NODES = Config().replace({"data.name": "digits", "data.split": 3})
LINKS = NODES.replace({"task.kind": "link"})


@pytest.mark.parametrize("first", [NODES, LINKS])
def test_a_checksum_is_that_of_its_task(first: Config) -> None:
    """For links the number is that of a split of the edges, so that the nodes have split 0."""
    nodes, links = (DataChecksum.of(catalogue.load("digits", split=split)) for split in (3, 0))
    assert nodes != links
    checksums = _Checksums()
    assert checksums.of(first) == (nodes if first is NODES else links)
    assert (checksums.of(NODES), checksums.of(LINKS)) == (nodes, links)


@pytest.mark.parametrize("kinds", [("auto", "link"), ("link", "auto")])
def test_without_labels_only_links_have_a_checksum(kinds: tuple[str, ...], tmp_path: Path) -> None:
    graph = replace(link_graph(30, 100), name="plain")
    write_store(graph, tmp_path / "plain")
    checksums, config = _Checksums(), Config().replace({"data.name": str(tmp_path / "plain")})
    made = {kind: checksums.of(config.replace({"task.kind": kind})) for kind in kinds}
    assert made == {"auto": None, "link": DataChecksum.of(graph)}
