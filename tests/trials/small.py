"""Small inputs and commands that several topics share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.trials.case import Outcome, ugts
from ugts_dist.graphs import webkb as webkb_files
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.store_writer import write_store

QUICK = (
    *("--run.epochs", "2", "--model.width", "8", "--supermask.sparsity", "0.5"),
    *("--log.no-progress", "--log.to", "--run.device", "cpu"),
)


def graph(num_nodes: int = 30, seed: int = 0, **changes: Any) -> Graph:
    """A random graph of three classes; `changes` are functions of some of its parts, by their names."""
    g = torch.Generator().manual_seed(seed)
    parts: dict[str, Any] = {
        "x": torch.rand(num_nodes, 4, generator=g),
        "edge_index": torch.randint(0, num_nodes, (2, 4 * num_nodes), generator=g),
        "y": torch.arange(num_nodes) % 3,
        "train": torch.arange(0, 12),
        "valid": torch.arange(12, 20),
        "test": torch.arange(20, 30),
    }
    return from_edges("small", **{name: changes.get(name, lambda part: part)(part) for name, part in parts.items()})


def store(folder: Path, **changes: Any) -> Path:
    """The same as a store, which takes the place of one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    write_store(graph(**changes), folder)
    return folder


def train(data: Path, run: Path | None, *arguments: str | Path) -> Outcome:
    """A run of two epochs on a store."""
    where = ("--run.folder", run) if run is not None else ()
    return ugts("train", "--data.name", data, *QUICK, *where, *arguments)


def trained(data: Path, run: Path, *arguments: str | Path) -> Path:
    """The folder of a finished run."""
    outcome = train(data, run, *arguments)
    assert outcome.code == 0, outcome.told
    return run


def cut_off(data: Path, run: Path) -> Path:
    """The folder of a run that is not finished: it has come to its end, but was killed before it wrote its result."""
    (trained(data, run) / "result.json").unlink()
    return run


def edit(file: Path, old: str, new: str) -> None:
    """Replace what stands in a file exactly once."""
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def webkb(raw: Path) -> Path:
    """The raw files of texas, cornell or wisconsin, with 30 nodes in a ring; returns that of the nodes."""
    raw.mkdir(parents=True)
    rows = [f"{node}\t{int(node % 4 == 1)},{int(node % 7 < 3)},1\t{node % 3}" for node in range(30)]
    (raw / webkb_files.FEATURES).write_text("\n".join(["node_id\tfeature\tlabel", *rows]))
    edges = [f"{node}\t{(node + 1) % 30}" for node in range(30)]
    (raw / webkb_files.EDGES).write_text("\n".join(["node_id\tnode_id", *edges]))
    part = np.arange(30) % 3
    for name in webkb_files.split_names(raw.parent.name):
        np.savez(raw / name, train_mask=part == 0, val_mask=part == 1, test_mask=part == 2)
    return raw / webkb_files.FEATURES
