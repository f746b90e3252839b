"""A network that has learnt nothing is told as such, with a remedy that is one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.helpers import planted_graph
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Supermask, Ticket, sparsify
from ugts_dist.training.settings import advice

QUIET = ["--no-rules", "--log.no-progress", "--log.to", "--run.epochs", "60", "--model.width", "64"]


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    """A ticket of two layers, each of which keeps half of its weights."""
    Ticket.of(half_masked()).save(tmp_path / "best.ticket")
    return tmp_path / "best.ticket"


def half_masked(first: float = 0.0) -> Supermask:
    """Two layers of equal size at sparsity 0.5; `first` is added to the scores of the first one."""
    mask = sparsify(torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)), seed=0)
    with torch.no_grad():
        mask.scores()[0].add_(first)
    mask.step(0.5)
    return mask


def told(path: Path, valid: float, sparse: bool = False, **changes: object) -> str:
    config = Config().replace({name.replace("__", "."): value for name, value in changes.items()})
    graph = planted_graph()
    return advice(config, replace(graph, x=(graph.x > 2.5).float()) if sparse else graph, valid, path)


def test_what_has_learnt_something_is_not_told(ticket: Path) -> None:
    assert told(ticket, 0.9) == ""


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"model__depth": 8}, "--model.skip initial --model.dropout-at input --supermask.weight-init balanced"),
        ({"model__depth": 8, "supermask__method": "dense"}, "--model.skip initial --model.dropout-at input"),
        ({}, "--data.features standardize"),
        ({"sparse": True}, "--supermask.output-rms 1"),
        ({"data__features": "standardize", "supermask__output_rms": 1.0}, "a larger --model.width (1024)"),
        ({"data__features": "standardize", "supermask__method": "dense"}, "another --optim.lr"),
    ],
)
def test_the_remedy_is_what_the_run_lacks(ticket: Path, changes: dict[str, Any], remedy: str) -> None:
    line = told(ticket, 0.2, **changes)
    assert "nothing was learnt" in line
    assert f"try {remedy}" in line


def test_layers_without_a_weight_are_named(tmp_path: Path) -> None:
    Ticket.of(half_masked(first=-9.0)).save(tmp_path / "best.ticket")
    line = told(tmp_path / "best.ticket", 0.2)
    assert "try --supermask.min-layer-density 0.3 (no weight of 0.weight is left)" in line


def test_a_run_looks_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(planted_graph(600), tmp_path / "store")
    train = ["train", "--data.name", str(tmp_path / "store"), *QUIET, "--supermask.sparsity", "0.9999"]
    main([*train, "--run.folder", str(tmp_path / "a")])
    assert "no weight of " in capsys.readouterr().err


def test_of_a_single_class_a_right_answer_is_no_failure(ticket: Path) -> None:
    graph = planted_graph()
    assert advice(Config(), replace(graph, y=torch.zeros_like(graph.y)), 1.0, ticket) == ""


def test_the_remedy_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = planted_graph(600)
    units = 10.0 ** torch.linspace(-2, 3, 16)
    write_store(replace(graph, x=(graph.x + 5.0) * units), tmp_path / "store")
    train = ["train", "--data.name", str(tmp_path / "store"), *QUIET]
    main([*train, "--run.folder", str(tmp_path / "a")])
    line = capsys.readouterr().err
    assert "nothing was learnt; try --data.features standardize" in line
    main(
        [
            "train",
            "--data.name",
            str(tmp_path / "store"),
            "--data.features",
            "standardize",
            "--run.folder",
            str(tmp_path / "b"),
            *QUIET,
        ]
    )
    shown = capsys.readouterr()
    assert "nothing was learnt" not in shown.err
    assert float(re.findall(r"test accuracy (\S+)", shown.out)[0]) > 0.5
