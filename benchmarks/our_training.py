"""Our side of `sampled_training.py`, started by it under torchrun: the program's own loop on a graph store."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rank_record import WARM_UP, RankRecord, write_record

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment
from ugts_dist.graphs.feature_cache import FeatureCache
from ugts_dist.graphs.store import open_store
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import make_trainer

_EPOCHS = 10_000  # more than are ever begun


def main() -> None:
    options = _arguments()
    record = RankRecord()
    with ranks_from_environment(options.device) as ranks:
        config = _config(options, ranks.world_size)
        training = make_trainer(config, NodeTask(open_store(options.store)), ranks)
        epochs = itertools.chain.from_iterable(map(training.batches.epoch, range(_EPOCHS)))
        for batch in record.steps(epochs, options.steps, options.micro_batches):
            record.seeds(batch.y.numel())
            training.step(batch, config.supermask.sparsity)
        cache = _cache_figures(training.batches, config, options) if options.cache_bytes else {}
        write_record(record, options.out, cache)


def _cache_figures(batches: Any, config: Config, options: argparse.Namespace) -> dict[str, float]:
    """Hits and reads of the cache of features, and the fewest reads with all batches known."""
    cache: FeatureCache | None = batches.cache
    if cache is None:
        return {}
    steps = WARM_UP + options.steps
    figures = {"hits": cache.hits, "misses": cache.misses, "read_a_step": cache.bytes_read / steps}
    figures["cache"] = cache.table.nbytes
    if options.fewest_reads:
        nothing: Any = SimpleNamespace(read=lambda *_: None, bytes_read=0)
        known = FeatureCache(nothing, open_store(options.store).num_nodes, torch.empty(cache.num_slots, 1))
        loaded = cache.hits + cache.misses
        plain = NodeTask(open_store(options.store)).batches(config.replace({"batch.cache_bytes": 0}), Ranks())
        rows = [batch.nodes for batch in itertools.islice(plain.epoch(0), steps)]
        for number, each in enumerate(rows):
            known.release(known.load(each, rows[number + 1 :]))
        # The cache has loaded some batches ahead of the last step.
        figures["fewest"] = known.misses * loaded / (known.hits + known.misses)
    return figures


def _config(options: argparse.Namespace, world_size: int) -> Config:
    return Config().replace(
        {
            "model.arch": "sage",
            "model.depth": len(options.fan_out),
            "model.width": options.width,
            "supermask.method": options.method,
            "supermask.sparsity": 0.0 if options.method == "dense" else options.sparsity,
            "optim.lr": options.lr,
            "batch.size": options.batch * world_size,
            "batch.fan_out": options.fan_out,
            "batch.micro_batches": options.micro_batches,
            "batch.backend": options.backend,
            "batch.first_layer": options.first_layer,
            "batch.cache_bytes": options.cache_bytes,
            "optim.precision": options.precision,
            "run.seed": options.seed,
            "run.epochs": _EPOCHS,
            "run.device": options.device,
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--fan-out", type=int, nargs="+", required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--method", default="ugts")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--backend", default="ours")
    parser.add_argument("--first-layer", default="sampled")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache-bytes", type=int, default=0)
    parser.add_argument("--fewest-reads", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
