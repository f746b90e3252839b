"""The self-test: small checks of basic guarantees, each in a separate process.

Each function returns its result as a text, and raises an error if the guarantee does not hold.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch

# Weights of seed 0 for the parameter below, by initialisation. They must never change: tickets store only the seed.
GOLDEN = {
    "kaiming-uniform": "394514710eb44d097084075712293aa53b336d6a799a69c8c59343f5725378de",
    "kaiming-normal": "6bf0ae376fd91e6788724085c4eea869c1b74e61087bed1dfb62807374d559fd",
    "signed-constant": "a5545f3cfdd2e678ca6db7b8d164c9b2914b6f40edd2205bc6eb27124a4705da",
    "balanced": "67f454b9902979bc8d6b3a368e5ee54d51db453331e9fa97071f51354c6bb3e7",
    "uniform": "dcfa2605fd0d5bbcebc1cf1857f891e3b3292e52377a625919b59b9831cbbf50",
}
_NAME, _SHAPE = "convs.0.lin.weight", (16, 10)
_EPOCHS, _SPARSITY = 5, 0.5  # a higher sparsity needs more epochs


def weights() -> str:
    """Frozen weights are the same on every machine."""
    from ugts_dist.supermask.weights import fingerprint, random_tensor

    for init, golden in GOLDEN.items():
        found = fingerprint({_NAME: random_tensor(0, "weight", _NAME, _SHAPE, init)})  # type: ignore[arg-type]
        if found != golden:
            raise AssertionError(f"the weights of {init} have fingerprint {found[:16]}..., not {golden[:16]}...")
    return f"{len(GOLDEN)} initialisations have their fingerprints"


def threshold() -> str:
    """The k-th smallest score is that of a sort, bit for bit, with ties and over several tensors."""
    from ugts_dist.supermask import kth_smallest

    values = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    values[::3] = np.round(values[::3], 2) + 0.0  # ties, of zeros with one sign
    ordered = np.sort(values)
    group = list(torch.from_numpy(values).split([7, 100_000, 199_993]))
    places = [0, 1, len(values) // 3, len(values) // 2, len(values) * 99 // 100, len(values) - 1]
    for k in places:
        found = kth_smallest([group], [k])
        if found.numpy().tobytes() != ordered[k : k + 1].tobytes():
            raise AssertionError(f"the {k}-th of {len(values)} scores is {float(found)!r}, by a sort {ordered[k]!r}")
    return f"equal to a sort at {len(places)} places of {len(values):,} scores"


def all_reduce(world_size: int) -> str:
    """Processes add up their ranks with gloo; their rendezvous is a file."""
    from torch.multiprocessing.spawn import start_processes

    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, str(Path(folder, "meet")))
        start_processes(_add_ranks, arguments, world_size, start_method="fork")
    return f"{world_size} processes agree on a sum"


def _add_ranks(rank: int, world_size: int, meet: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=world_size)
    total = torch.full((1000,), float(rank + 1))
    dist.all_reduce(total)
    expected = world_size * (world_size + 1) / 2
    if not bool((total == expected).all()):
        raise AssertionError(f"the sum over {world_size} processes is {float(total[0])}, not {expected}")
    dist.barrier()
    dist.destroy_process_group()


def training(device: str) -> str:
    """A few epochs with sampled mini-batches on the embedded graph; the losses are finite."""
    from ugts_dist.config import load_preset
    from ugts_dist.distributed.ranks import Ranks
    from ugts_dist.training.run import run

    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    with tempfile.TemporaryDirectory() as folder:
        config = load_preset("digits").replace(
            {
                "supermask.sparsity": _SPARSITY,
                "run.epochs": _EPOCHS,
                "run.device": place.type,
                "run.folder": str(Path(folder, "run")),
                "log.progress": False,
                "log.tensorboard": False,
            }
        )
        result, path = run(config, Ranks(device=place))
        lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    if len(losses) != _EPOCHS or not all(math.isfinite(loss) for loss in losses):
        raise AssertionError(f"the losses of {_EPOCHS} epochs are {losses}")
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {_EPOCHS} epochs, test accuracy {result.test:.3f}"


def same_samples(device: str) -> str:
    """The sampler draws the same subgraphs on a device as on the CPU."""
    from ugts_dist.graphs import catalogue
    from ugts_dist.graphs.sampling import NeighborSampler

    graph, fan_out, steps = catalogue.load("digits"), [10, 5, 3], 5
    here = NeighborSampler(graph.indptr, graph.indices, fan_out, seed=1)
    there = NeighborSampler(graph.indptr.to(device), graph.indices.to(device), fan_out, seed=1)
    for step in range(steps):
        seeds = graph.train[step * 64 : (step + 1) * 64]
        a, b = here.sample(step, seeds), there.sample(step, seeds.to(device))
        pairs = [(a.nodes, b.nodes)]
        for one, other in zip(a.hops, b.hops, strict=True):
            pairs += [(one.indptr, other.indptr), (one.indices, other.indices)]
        if not all(torch.equal(one, other.cpu()) for one, other in pairs):
            raise AssertionError(f"step {step} draws another subgraph on {device} than on the CPU")
    return f"{steps} steps draw the same subgraphs as on the CPU"
