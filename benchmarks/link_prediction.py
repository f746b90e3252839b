"""Link prediction on Cora, PubMed and GitHub: tickets, trained dense networks, and PyG's example on the same splits.

    UGTS_DATA=DATA .venv/bin/python benchmarks/link_prediction.py cora                  # 3 seeds
    UGTS_DATA=DATA .venv/bin/python benchmarks/link_prediction.py cora pubmed github --seeds 1
    UGTS_DATA=DATA .venv/bin/python benchmarks/link_prediction.py cora --only-finished  # the table of what there is

The example is that of PyG (examples/link_pred.py, release 2.6): GCN 128 -> 64 with biases, Adam 0.01, 100 epochs, new
negative edges in each, the test at the best validation epoch. *Dense* is our network of that shape, without biases.
Tickets are wider, as a weight of theirs takes a bit or less. Each seed has its own split of the edges. A finished run
is kept and never repeated. GitHub is DATA/github/raw/github.npz, in the layout of PyG's `GitHub`: features, edges,
target.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import negative_sampling

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.device import own_device
from ugts_dist.experiments.grid import find_or_run, finished
from ugts_dist.graphs.configured import load_data
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.link_split import HeldOut, link_split
from ugts_dist.graphs.store import is_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.spread import Spread

DATA = ("cora", "pubmed", "github")
ROWS: dict[str, dict[str, Any]] = {  # fields of each network
    "dense": {"supermask.method": "dense", "model.width": 128, "run.epochs": 100},
    "UGTs 0.5": {"supermask.sparsity": 0.5},
    "UGTs 0.9": {"supermask.sparsity": 0.9},
}
COMMON: dict[str, Any] = {
    "task.kind": "link",
    "model.arch": "gcn",
    "model.width": 256,
    "optim.lr": 0.01,
    "run.epochs": 200,
    "supermask.output_rms": 0.35,
}
EXAMPLE = "PyG's example"
RESULTS = Path(__file__).parent / "results"


class Example(nn.Module):
    """The network of PyG's example."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = GCNConv(num_features, 128), GCNConv(128, 64)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embeddings `[num_nodes, 64]`."""
        z: Tensor = self.conv2(self.conv1(x, edge_index).relu(), edge_index)
        return z


def example(graph: Graph, config: Config, device: torch.device) -> dict[str, float]:
    """Train PyG's example on the split of a configuration, and measure ROC-AUC as the example does."""
    torch.manual_seed(config.run.seed)
    start = time.perf_counter()
    split = link_split(graph, config.task.valid_edges, config.task.test_edges, config.data.split)
    x, messages, positives = graph.x.float().to(device), edge_index(split.graph, device), split.train.to(device)
    model = Example(graph.num_features).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    valid = test = 0.0
    for _ in range(100):
        model.train()
        optimizer.zero_grad()
        z = model(x, messages)
        negatives = negative_sampling(messages, graph.num_nodes, positives.shape[1])
        logits = score(z, torch.cat([positives, negatives], 1))
        y = torch.zeros_like(logits)
        y[: positives.shape[1]] = 1.0
        F.binary_cross_entropy_with_logits(logits, y).backward()
        optimizer.step()
        now = roc_auc(model, x, split.valid)
        if now > valid:
            valid, test = now, roc_auc(model, x, split.test)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    return {"valid": valid, "test": test, "bytes": size, "seconds": time.perf_counter() - start}


@torch.no_grad()
def roc_auc(model: Example, x: Tensor, part: HeldOut) -> float:
    model.eval()
    z = model(x, edge_index(part.graph, x.device))
    logits = score(z, torch.cat([part.positives, part.negatives], 1).to(x.device))
    y = np.repeat([1, 0], [part.positives.shape[1], part.negatives.shape[1]])
    return float(roc_auc_score(y, logits.cpu()))


def score(z: Tensor, pairs: Tensor) -> Tensor:
    return (z[pairs[0]] * z[pairs[1]]).sum(1)


def edge_index(graph: Graph, device: torch.device) -> Tensor:
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    return torch.stack([graph.indices.long(), destination]).to(device)


def prepared(data: str, store: Path) -> str:
    """The name for `data.name`; GitHub becomes a store without labels."""
    if data != "github":
        return data
    folder = store / "github"
    if not is_store(folder):
        with np.load(Path(os.environ["UGTS_DATA"]) / "github/raw/github.npz") as file:
            x, edges = torch.from_numpy(file["features"]).float(), torch.from_numpy(file["edges"]).long()
        none = torch.empty(0, dtype=torch.int64)
        y = torch.full((x.shape[0],), -1)
        edges = edges if edges.shape[0] == 2 else edges.t()
        write_store(from_edges("github", x, edges, y, none, none, none, 0), folder)
    return str(folder)


def config_of(name: str, row: str, seed: int, device: str) -> Config:
    own = {"data.name": name, "data.features": "row-normalize", "run.device": device}
    return Config().replace({**COMMON, **ROWS.get(row, {}), **own, "run.seed": seed, "data.split": seed})


def measured(data: str, row: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """The result of one run, found or made; None if it is not to be run."""
    config = config_of(prepared(data, args.store), row, seed, args.device)
    if row != EXAMPLE:
        return finished(config, args.store) if args.only_finished else find_or_run(config, args.store)
    file = args.store / f"pyg-{data}-{seed}.json"
    if not file.exists():
        if args.only_finished:
            return None
        graph = load_data(config)
        assert isinstance(graph, Graph)
        write_text(file, json.dumps(example(graph, config, own_device(config.run.device))) + "\n")
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def table(data: str, of_rows: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """Markdown; ROC-AUC in %."""
    headings = ("", "test", "validation", "bytes", "seconds", "seeds")
    lines = [f"\n**{data}**, ROC-AUC in %\n", "| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for row, results in of_rows.items():
        if results:
            percent = [f"{Spread.of([100 * r[key] for r in results]):.1f}" for key in ("test", "valid")]
            size, seconds = (sum(r[key] for r in results) / len(results) for key in ("bytes", "seconds"))
            lines.append(f"| {row} | {percent[0]} | {percent[1]} | {size:,.0f} | {seconds:.0f} | {len(results)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=DATA)
    parser.add_argument("--seeds", type=int, default=3, help="runs a cell, with seeds 0, 1, ... (default 3)")
    parser.add_argument("--rows", nargs="+", choices=[EXAMPLE, *ROWS], default=[EXAMPLE, *ROWS], help="run only these")
    parser.add_argument("--store", type=Path, default=Path("runs/links"), help="where finished runs are kept")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--only-finished", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--write", action="store_true", help="write table and JSON to benchmarks/results/")
    args = parser.parse_args()
    args.store.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    records = []
    for data in args.data:
        results = {
            row: [r for seed in range(args.seeds) if (r := measured(data, row, seed, args)) is not None]
            for row in args.rows
        }
        lines += table(data, results)
        keys = ("valid", "test", "bytes", "seconds")
        for row, runs in results.items():
            records.append({"data": data, "row": row, "runs": [{key: run[key] for key in keys} for run in runs]})
    print("\n".join(lines))
    if args.write:
        RESULTS.mkdir(exist_ok=True)
        write_text(RESULTS / "link_prediction.md", "\n".join(lines).strip() + "\n")
        write_text(RESULTS / "link_prediction.json", json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
