"""Seconds and peak memory of making a synthetic graph, and what it is like.

Peak memory is the most that was resident at once in this process: private memory and mapped pages together. With
`--probe`, a linear classifier is trained on the features alone, on the mean over the neighbours, and on both.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from side_by_side import machine, table
from torch import Tensor

from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.synthetic import generate
from ugts_dist.graphs.synthetic_config import PRESETS

_BLOCK = 1 << 22  # edges that are looked at at once
_PROBED = 20_000  # nodes to train the linear classifier, and as many to test it
_STEPS = 300


class Stopwatch:
    """Seconds of each stage that a progress callback is told of."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str, done: float) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    config = replace(PRESETS[options.preset].scaled(options.scale), seed=options.seed)
    with tempfile.TemporaryDirectory(dir=options.beside) as temporary:
        folder = options.folder or Path(temporary) / config.name
        stopwatch, started, before = Stopwatch(), time.perf_counter(), _peak_gib()
        generate(config, folder, stopwatch)
        seconds, peak = time.perf_counter() - started, _peak_gib()
        print(f"{config.name}; {machine()}\n")
        stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in stopwatch.seconds.items())
        rows = [
            ["seconds", f"{seconds:.1f} ({stages})"],
            ["peak memory, GiB", f"{peak:.2f} (before: {before:.2f})"],
            ["store, GiB", f"{sum(path.stat().st_size for path in folder.iterdir()) / 2**30:.2f}"],
        ]
        graph = open_store(folder)
        rows += _described(graph)
        if options.probe:
            rows += [
                [f"accuracy of a linear classifier on {what}", f"{100 * part:.1f} %"] for what, part in _probe(graph)
            ]
        print(table(["", ""], rows))


def _described(graph: Graph) -> list[list[str]]:
    degree = graph.degree
    same = sum(int((graph.y[source] == graph.y[destination]).sum()) for source, destination in _edges(graph))
    sizes = graph.y.bincount(minlength=graph.num_classes)
    return [
        ["nodes", f"{graph.num_nodes:,}"],
        ["edges, both directions", f"{graph.num_edges:,}"],
        ["degree: mean, median, most", f"{degree.double().mean():.1f}, {int(degree.median())}, {int(degree.max()):,}"],
        ["nodes without a neighbour", f"{int((degree == 0).sum()):,}"],
        ["classes: largest, smallest", f"{int(sizes.max()):,}, {int(sizes.min()):,}"],
        ["homophily", f"{same / graph.num_edges:.4f}"],
        ["mean degree to train, to test", f"{_mean(degree[graph.train]):.1f}, {_mean(degree[graph.test]):.1f}"],
    ]


def _edges(graph: Graph) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, graph.num_edges, _BLOCK):
        source = graph.indices[first : first + _BLOCK].long()
        places = torch.arange(first, first + source.numel())
        yield source, torch.searchsorted(graph.indptr, places, right=True) - 1


def _probe(graph: Graph) -> Iterator[tuple[str, float]]:
    generator = torch.Generator().manual_seed(0)
    train, test = (
        nodes[torch.randperm(nodes.numel(), generator=generator)[:_PROBED]] for nodes in (graph.train, graph.test)
    )
    own = graph.x[train], graph.x[test]
    near = _neighbour_mean(graph, train), _neighbour_mean(graph, test)
    both = tuple(torch.cat(parts, dim=1) for parts in zip(own, near, strict=True))
    for what, (x_train, x_test) in {"x": own, "the mean over neighbours": near, "both": both}.items():
        yield what, _linear_accuracy(x_train, graph.y[train], x_test, graph.y[test], graph.num_classes)


def _neighbour_mean(graph: Graph, nodes: Tensor) -> Tensor:
    """Mean of the neighbours' features, [number of nodes, num_features]; 0 without neighbours."""
    sources = [graph.indices[graph.indptr[node] : graph.indptr[node + 1]].numpy() for node in nodes.tolist()]
    ends = np.cumsum([0, *map(len, sources)])
    columns: NDArray[np.int32] = np.concatenate(sources)
    weights = np.repeat(1.0 / np.maximum(np.diff(ends), 1), np.diff(ends)).astype(np.float32)
    rows = sp.csr_matrix((weights, columns, ends), shape=(nodes.numel(), graph.num_nodes))
    return torch.from_numpy(rows @ graph.x.numpy())


def _linear_accuracy(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, num_classes: int) -> float:
    torch.manual_seed(0)
    scale = x.std(dim=0)
    linear = torch.nn.Linear(x.size(1), num_classes)
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.03, weight_decay=1e-4)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(linear(x / scale), y).backward()
        optimizer.step()
    return float((linear(x_test / scale).argmax(dim=1) == y_test).float().mean())


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="products-like", help="kind of graph")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full size")
    parser.add_argument("--seed", type=int, default=0, help="of the graph")
    parser.add_argument("--folder", type=Path, default=None, help="keep the store here; without: a temporary folder")
    parser.add_argument("--beside", type=Path, default=None, help="folder for the temporary one")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--probe", action="store_true", help="also train linear classifiers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
