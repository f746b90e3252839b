"""Stored tickets of older versions: every old file still gives its network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tickets.helpers import config_of, saved, ticket_of
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.configured import load_graph
from ugts_dist.supermask import Ticket
from ugts_dist.supermask.ticket_file import read_ticket_file
from ugts_dist.supermask.weights import fingerprint
from ugts_dist.tasks import build_model

STORED = Path(__file__).parent / "stored"
# SHA-256 of the masked weights, by the programs that knew versions 2 and 3 only; version 4 is the same search again.
WEIGHTS = {
    2: "e5a75b6849e2f1913c10cd77855f25f58bd4b93fd716eda8f6ef7369b3b01707",
    3: "347a6fa778d2aef8704af62f4669221e7c8bfb933cc0ba6b0eefe1559fd7088b",
    4: "347a6fa778d2aef8704af62f4669221e7c8bfb933cc0ba6b0eefe1559fd7088b",
}


@pytest.mark.parametrize("version", WEIGHTS)
def test_a_stored_ticket_is_the_network_that_it_was(version: int) -> None:
    path = STORED / f"version-{version}.ticket"
    assert read_ticket_file(path)[0]["format_version"] == version
    assert fingerprint(Ticket.load(path).effective()) == WEIGHTS[version]
    ticket = load_saved(path)
    graph = load_graph(ticket.config)
    network = build_model(ticket.config, graph)
    ticket.fill(network)
    measured, _ = Evaluator(graph, Ranks()).measure(network, torch.zeros(()))
    assert measured == pytest.approx({name: ticket.metrics[name] for name in measured}, abs=0.005)
    assert min(measured.values()) > 0.5


@pytest.mark.parametrize("version", [2, 3])
def test_an_older_ticket_that_is_saved_again_is_the_same_in_fewer_bytes(version: int, tmp_path: Path) -> None:
    path = STORED / f"version-{version}.ticket"
    older = Ticket.load(path)
    assert older.save(tmp_path / "a") < path.stat().st_size / 3
    newer = Ticket.load(tmp_path / "a")
    assert fingerprint(newer.effective()) == WEIGHTS[version]
    assert (newer.config, newer.metrics, newer.provenance) == (older.config, older.metrics, older.provenance)


def test_a_file_tells_every_field_of_its_configuration_whatever_the_defaults(tmp_path: Path) -> None:
    config = config_of("gcn")
    path = saved(tmp_path, ticket_of(config))
    assert read_ticket_file(path)[0]["config"] == config.to_dict()
    assert path.stat().st_size < 400
