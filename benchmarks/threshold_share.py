"""The share of one training step that thresholds and masks take: in one process and several (gloo), or on a GPU.

Timed in turn, in the same run: the threshold (`Supermask.step` with `rescale`: exact k-th score over all layers, then
each layer's density), the masks' forward and backward alone, and the whole step (threshold, forward, backward, Adam).
Beside it, the exact k-th score alone against `torch.kthvalue` on the same scores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from side_by_side import alternate, machine, milliseconds, ratio, table
from torch import Tensor

from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.configured import load_graph
from ugts_dist.supermask import kth_smallest
from ugts_dist.supermask.masked_weight import MaskedWeight
from ugts_dist.tasks import build_model
from ugts_dist.tasks.batches import make_batches
from ugts_dist.training.averaging import data_parallel
from ugts_dist.training.methods import TicketSearch


def main() -> None:
    options = _arguments()
    for world_size in options.ranks:
        if world_size == 1:
            _measure(Ranks(device=torch.device(options.device)), options)
        else:
            with tempfile.TemporaryDirectory() as folder:
                arguments = [(rank, world_size, Path(folder), options) for rank in range(world_size)]
                with multiprocessing.get_context("spawn").Pool(world_size) as pool:
                    pool.starmap(_rank, arguments, chunksize=1)


def _rank(rank: int, world_size: int, folder: Path, options: argparse.Namespace) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    _measure(Ranks(rank, world_size, torch.device("cpu"), dist.group.WORLD), options)
    dist.destroy_process_group()


def _measure(ranks: Ranks, options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    config = _config(options)
    graph = load_graph(config)
    method = TicketSearch(build_model(config, graph), config, ranks)
    batches = make_batches(graph, config, ranks)
    calibration, batch = batches.calibration_batch(), next(batches.epoch(0))
    method.start(lambda: method.model(calibration.x, calibration.blocks))
    network = data_parallel(method.model, ranks)
    optimizer = torch.optim.Adam(method.trained().values(), lr=1e-3, fused=True)
    weights = list(method.mask.weights().values())
    masks = [module for module in method.model.modules() if isinstance(module, MaskedWeight)]
    gradients = [torch.ones_like(weight) for weight in weights]
    scores = [score.detach() for score in method.mask.scores()]
    together = torch.cat([score.flatten() for score in scores])
    k = round(options.sparsity * together.numel())
    assert torch.equal(kth_smallest([scores], [k], ranks.process_group)[0], together.kthvalue(k + 1).values)

    def threshold() -> None:
        method.set_sparsity(options.sparsity)

    def forward_of_masks() -> list[Tensor]:
        return [mask(weight) for mask, weight in zip(masks, weights, strict=True)]

    def masking() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(forward_of_masks(), gradients)

    def step() -> None:
        threshold()
        logits = network(batch.x, batch.blocks)[batch.rows]
        loss = F.cross_entropy(logits, batch.y, reduction="sum") / batch.num_seeds_of_all
        optimizer.zero_grad()
        (loss * ranks.world_size).backward()
        optimizer.step()

    seconds = alternate(
        {
            "threshold": threshold,
            "masks, forward and backward": masking,
            "whole step": step,
            "`kth_smallest`": lambda: kth_smallest([scores], [k], ranks.process_group),
            "`torch.kthvalue`": lambda: together.kthvalue(k + 1),
            "`torch.sort`": lambda: together.sort().values[k],
        },
        options.rounds,
    )
    if not ranks.is_main:
        return
    whole = seconds["whole step"]
    seconds["threshold and masks"] = [
        a + b for a, b in zip(seconds["threshold"], seconds["masks, forward and backward"], strict=True)
    ]
    print(f"{graph.name}, GCN {options.depth} x {options.width}, {together.numel():,} scores, sparsity ", end="")
    print(f"{options.sparsity}, {ranks.world_size} process(es); {machine(options.device)}")
    print(f"{options.rounds} rounds in alternation; median (least to most)\n")
    rows = [[name, milliseconds(values), f"{100 * ratio(values, whole):.1f} %"] for name, values in seconds.items()]
    print(table(["", "ms", "share of the whole step"], rows), end="\n\n", flush=True)


def _config(options: argparse.Namespace) -> Config:
    return load_preset("cora-gcn").replace(
        {
            "data.name": options.data,
            "data.root": options.root,
            "model.depth": options.depth,
            "model.width": options.width,
            "supermask.sparsity": options.sparsity,
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="cora", help="dataset, by its name in the catalogue")
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--depth", type=int, default=32, help="number of convolutions")
    parser.add_argument("--width", type=int, default=448, help="width between them")
    parser.add_argument("--sparsity", type=float, default=0.9, help="masked fraction of the weights")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda: one process only")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of processes, one after another")
    parser.add_argument("--rounds", type=int, default=10, help="timings of each part, in alternation")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
