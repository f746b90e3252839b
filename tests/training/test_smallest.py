"""The presets of the smallest tickets keep to their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ugts_dist.checkpointing.provenance import TrainedOn
from ugts_dist.config import load_preset, preset_names
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.models import GNN
from ugts_dist.training.methods import TicketSearch

SIZES = {"cora": (1433, 7), "citeseer": (3703, 6), "pubmed": (500, 3)}  # features and classes


def test_there_is_one_for_each_citation_graph_and_architecture() -> None:
    expected = {f"{graph}-{arch}-smallest" for graph in SIZES for arch in ("gcn", "gat")}
    assert {name for name in preset_names() if name.endswith("-smallest")} == expected


@pytest.mark.parametrize("graph", SIZES)
@pytest.mark.parametrize("arch", ["gcn", "gat"])
def test_their_files_have_under_2000_bytes_whatever_the_scores(graph: str, arch: str, tmp_path: Path) -> None:
    settings = load_preset(f"{graph}-{arch}-smallest")
    torch.manual_seed(0)
    search = TicketSearch(GNN.of(settings.model, *SIZES[graph]), settings, Ranks())
    for score in search.mask.scores():
        torch.nn.init.normal_(score)
    search.set_gains(dict.fromkeys(search.gains(), 1.2345678901))
    search.set_sparsity(settings.supermask.sparsity)
    metrics = {"epoch": 123, "valid": 0.8123456789, "test": 0.8123456789, "sparsity": search.achieved_sparsity()}
    parts = dict.fromkeys(("features", "labels", "edges", "split"), "f12e9b07")
    ticket = search.snapshot(settings, metrics, TrainedOn(DataChecksum(graph, "9f" * 32, 2708, parts)))
    assert ticket.save(tmp_path / "a") < 2000
