from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torch_geometric

import ugts_dist
from ugts_dist import Ticket, linear_schedule, sparsify


def test_every_public_name_is_there() -> None:
    expected = {"sparsify", "Supermask", "Ticket", "TicketBank", "Schedule", "linear_schedule", "Config", "InputError"}
    assert expected <= set(ugts_dist.__all__)
    for name in ugts_dist.__all__:
        assert getattr(ugts_dist, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'ugts_dist' has no attribute 'nothing'"):
        _ = ugts_dist.nothing
    assert importlib.metadata.version("ugts_dist") == ugts_dist.__version__


def test_public_names_are_listed_before_their_first_use() -> None:
    """In its own process, because used names are listed anyway."""
    code = "import sys, ugts_dist; print(*dir(ugts_dist)); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {*ugts_dist.__all__, "__version__"} <= set(done.stdout.split())


def test_a_ticket_of_pygs_own_gcn(tmp_path: Path) -> None:
    """A search that never changes a weight distinguishes two cliques; the ticket rebuilds the network."""
    torch.manual_seed(0)
    num_nodes, half = 24, 12
    pairs = torch.cartesian_prod(torch.arange(num_nodes), torch.arange(num_nodes))
    edge_index = pairs[(pairs[:, 0] // half == pairs[:, 1] // half) & (pairs[:, 0] != pairs[:, 1])].t()
    x, y = torch.randn(num_nodes, 16), torch.arange(num_nodes) // half
    train = torch.tensor([0, 1, 2, 12, 13, 14])

    model = torch_geometric.nn.GCN(16, 32, 2, 2)
    mask = sparsify(model, seed=0)
    fingerprint = mask.fingerprint()
    optimizer = torch.optim.Adam(mask.scores(), lr=0.01)
    schedule = linear_schedule(final=0.9, epochs=20)
    losses = []
    for epoch in range(40):
        mask.step(sparsity=schedule(epoch))
        loss = F.cross_entropy(model(x, edge_index)[train], y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    mask.step(sparsity=0.9)
    assert sum(int((~kept).sum()) for kept in mask.masks().values()) == round(0.9 * 32 * (16 + 2))
    assert mask.fingerprint() == fingerprint

    size = Ticket.of(mask).save(tmp_path / "two-cliques.ticket")
    assert size < 2048
    torch.manual_seed(1)
    plain = Ticket.load(tmp_path / "two-cliques.ticket").apply(torch_geometric.nn.GCN(16, 32, 2, 2))
    assert torch.equal(plain(x, edge_index), model(x, edge_index))
    assert plain(x, edge_index).argmax(1).tolist() == y.tolist()
