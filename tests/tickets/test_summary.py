from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import entropy

from tests.tickets.helpers import config_of, masked_weights, saved, ticket_of
from ugts_dist.cli import main
from ugts_dist.config import flat
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tickets.summary import summarise


@pytest.mark.parametrize("arch", ["gcn", "gat"])
def test_the_numbers_are_those_of_the_dense_weights(arch: str, tmp_path: Path) -> None:
    config = config_of(arch, heads=2)
    ticket = ticket_of(config)
    path = saved(tmp_path, ticket)
    summary = summarise(Ticket.load(path), path)
    dense = masked_weights(ticket, config)
    assert [layer.name for layer in summary.layers] == list(dense)
    for layer in summary.layers:
        weight = dense[layer.name]
        kept = int(weight.count_nonzero())
        assert (layer.shape, layer.weights, layer.kept) == (tuple(weight.shape), weight.numel(), kept)
        assert layer.density == kept / weight.numel()
        bits = weight.numel() * float(entropy([layer.density, 1 - layer.density], base=2))
        assert layer.entropy_bytes == pytest.approx(bits / 8)
    weights = sum(value.numel() for value in dense.values())
    assert summary.weights == weights
    assert summary.kept == weights - round(0.6 * weights)
    assert summary.sparsity == pytest.approx(round(0.6 * weights) / weights)
    assert summary.dense_bytes == 4 * weights
    assert summary.file_bytes == len(path.read_bytes())
    assert summary.entropy_bytes == pytest.approx(sum(layer.entropy_bytes for layer in summary.layers))
    assert summary.fingerprint == ticket.fingerprint


def test_biases_and_statistics_are_part_of_the_dense_size_and_full_masks_have_no_entropy(tmp_path: Path) -> None:
    mask = sparsify(torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3)))
    path = saved(tmp_path, Ticket.of(mask))
    summary = summarise(Ticket.load(path), path)
    assert summary.dense_bytes == 4 * (15 + 3 + 4 * 3) + 8
    assert summary.entropy_bytes == 0.0
    assert summary.sparsity == 0.0


def test_flat() -> None:
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": [3]}}, "f": {}}) == {"a": 1, "b.c": 2, "b.d.e": [3]}


def test_json_and_tables_tell_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = ticket_of(config_of("gat"), seed=1)
    ticket.provenance = {"data": {"name": "elsewhere"}}
    saved(tmp_path, ticket, "best.ticket")
    main(["ticket", "show", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["config"] == ticket.config
    assert told["metrics"] == {"valid": 0.25, "test": 0.125}
    assert told["provenance"] == {"data": {"name": "elsewhere"}}
    assert (told["seed"], told["weight_init"]) == (1, "signed-constant")
    assert told["fingerprint"] == ticket.fingerprint
    main(["ticket", "show", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    for layer in told["layers"]:
        (line,) = (line for line in lines if layer["name"] in line)
        assert " x ".join(map(str, layer["shape"])) in line
        assert f"{layer['kept']:,}" in line
        assert f"{layer['density']:.4f}" in line
    for text in (ticket.fingerprint, "data.name", "elsewhere", "model.arch", f"{told['file_bytes']:,} bytes", "0.125"):
        assert any(text in line for line in lines), text


def test_a_pipe_gets_whole_lines_in_any_encoding(tmp_path: Path) -> None:
    path = saved(tmp_path, ticket_of(config_of("gcn")))
    done = subprocess.run(
        [sys.executable, "-m", "ugts_dist", "ticket", "show", str(path)],
        env={"PYTHONIOENCODING": "ascii", "COLUMNS": "40", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert Ticket.load(path).fingerprint in done.stdout
    assert done.stdout.isascii()
