"""What a device computes beside a CPU: the largest difference on each path, in units of the largest value.

Of one step and one evaluation on a small planted graph: the logits and the gradient of the scores of the step, and the
logits of all nodes. The order of sums differs between devices, and bfloat16 rounds to 8 bits.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from side_by_side import machine, table
from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.synthetic import generate
from ugts_dist.graphs.synthetic_config import PRESETS
from ugts_dist.models import Dropout
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import autocast, make_trainer

ARCHS = ("gcn", "gat", "gin", "gin-paper", "sage")
PATHS: Mapping[str, Mapping[str, Any]] = {
    "sampled": {},
    "sampled, dropout": {"model.dropout": 0.5},
    "sampled, features on the host": {"batch.placement": "host"},
    "sampled, exact first layer": {"batch.first_layer": "exact"},
    "sampled, bfloat16": {"optim.precision": "bfloat16"},
    "full batch": {"batch.size": 0, "batch.fan_out": []},
    "full batch, dropout": {"batch.size": 0, "batch.fan_out": [], "model.dropout": 0.5},
}
_SCALE = 0.002  # of arxiv-like
_SUMS = ("gcn", "gin", "sage")  # whose first layer can be exact


@dataclass(frozen=True)
class Computed:
    """Logits of a step, gradients of the scores, and logits of all nodes."""

    logits: Tensor
    gradients: Tensor
    evaluated: Tensor


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        generate(PRESETS["arxiv-like"].scaled(_SCALE), Path(folder) / "graph", lambda *_: None)
        graph = open_store(Path(folder) / "graph")
        for arch in options.archs:
            for path, changes in PATHS.items():
                if "exact" in path and arch not in _SUMS:
                    continue
                settings = _config(arch, changes)
                there, here = (_computed(settings, graph, device) for device in (options.device, "cpu"))
                rows.append([f"{arch}, {path}", *map(_difference, *(vars(each).values() for each in (there, here)))])
    print(f"{graph.num_nodes:,} nodes, {graph.num_edges:,} edges; {machine(options.device)}\n")
    print(table(["", "logits", "gradients of the scores", "evaluation"], rows))


def _computed(settings: Config, graph: Graph, device: str) -> Computed:
    if device == "cpu" and settings.batch.placement != "auto":
        settings = settings.replace({"batch.placement": "auto"})
    ranks, task = Ranks(device=torch.device(device)), NodeTask(graph)
    training = make_trainer(settings, task, ranks)
    training.mask(settings.supermask.sparsity)
    batch = next(iter(training.batches.epoch(0)))
    model = settings.model
    dropout = Dropout(model.dropout, settings.run.seed, batch.step, batch.nodes, model.dropout_at)
    with autocast(settings, ranks):
        logits = task.forward(training.method.model, batch, dropout)
    task.loss(logits.float(), batch).backward()
    gradients = [score.grad.flatten() for score in training.method.trained().values() if score.grad is not None]
    network: Any = training.method.model
    evaluated = Evaluator(graph, ranks).logits(network)
    return Computed(*(value.detach().float().cpu() for value in (logits, torch.cat(gradients), evaluated)))


def _difference(there: Tensor, here: Tensor) -> str:
    return f"{float((there - here).abs().max() / here.abs().max()):.1e}"


def _config(arch: str, changes: Mapping[str, Any]) -> Config:
    settings = {"model.arch": arch, "model.depth": 2, "model.width": 64, "supermask.sparsity": 0.5, "run.epochs": 1}
    settings |= {"batch.size": 128, "batch.fan_out": [10, 5], "log.progress": False, **changes}
    return Config().replace(settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--archs", nargs="+", default=list(ARCHS), choices=ARCHS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
