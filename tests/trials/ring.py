"""A ring of 12 nodes in files of a person's own, for `ugts prepare`, and what the store then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.trials.case import ugts
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_files import read_meta

NUM_NODES = 12
NODES = np.arange(NUM_NODES)
EDGES = np.stack([NODES, (NODES + 1) % NUM_NODES], axis=1)
FEATURES = np.stack([NODES / 100, np.sin(NODES), np.cos(NODES)], axis=1)
LABELS = NODES % 2
IDS = [f"user_{k * 37 % 101:03d}" for k in NODES]
WORDS = ["cat" if label else "dog" for label in LABELS]
SPLITS = {"train": NODES[:6], "valid": NODES[6:9], "test": NODES[9:]}

# What `prepared` shows of a store that has every row at its own node.
RIGHT = r"12 nodes, 3 features, first 0.00 0.01 .* 0.11, classes 0101..., edges 0-1 1-2 .* 11-0, splits 0-5 6-8 9-11"


def write_right(folder: Path) -> dict[str, Path]:
    """The ring in NPY files, by part: nothing is to be decided about these."""
    parts: dict[str, NDArray[Any]] = {
        "edges": EDGES,
        "features": FEATURES.astype(np.float32),
        "labels": LABELS,
        **SPLITS,
    }
    paths = {part: folder / f"{part}.npy" for part in parts}
    for part, values in parts.items():
        np.save(paths[part], values)
    return paths


def write(path: Path, content: str | pd.DataFrame | bytes) -> Path:
    """Write text, bytes, or a table as pandas writes it without its index."""
    if isinstance(content, pd.DataFrame):
        content = content.to_csv(index=False)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def prepare(folder: Path, *options: str, **paths: Path) -> str:
    """What `ugts prepare` tells, where these files take the place of the right ones."""
    files = write_right(folder) | paths
    arguments = [word for part, path in files.items() for word in (f"--{part}", str(path))]
    return ugts("prepare", "ring", *arguments, "--out", folder / "store", *options).told


def prepared(folder: Path, *options: str, **paths: Path) -> str:
    """The same, and what the store has."""
    told = prepare(folder, *options, **paths)
    return f"{told} | {store(folder / 'store')}" if told.startswith("exit 0") else told


def store(folder: Path) -> str:
    """What a store has, in words that `RIGHT` matches where it is as it should be."""
    graph, meta = open_store(folder), read_meta(folder)
    destination = np.repeat(np.arange(graph.num_nodes), graph.degree.numpy())
    edges = sorted(zip(graph.indices.tolist(), destination.tolist(), strict=True))
    first = " ".join(f"{value:.2f}" for value in graph.x[:, 0].tolist())
    splits = [f"{int(nodes.min())}-{int(nodes.max())}" for nodes in (graph.train, graph.valid, graph.test)]
    return (
        f"{graph.num_nodes} nodes, {graph.num_features} features, first {first}, "
        f"classes {''.join(map(str, graph.y[:4].tolist()))}..., edges {' '.join(f'{a}-{b}' for a, b in edges)}, "
        f"splits {' '.join(splits)}, called {', '.join(meta.class_names)}"
    )
