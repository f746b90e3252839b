"""The checks: torch and its GPUs, samplers, datasets, stores, and small tests of basic guarantees.

Each function runs in a child process, in a temporary folder. It returns a text, in some cases with rows, and raises an
error if a guarantee does not hold. The parent process imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import get_args

from ugts_dist.doctor.isolated import Check, Result
from ugts_dist.doctor.machine import Size
from ugts_dist.errors import InputError, first_line

# Of the weights of seed 0, all initialisations together. It must never change: tickets store only the seed.
FINGERPRINT = "e1264b14e3c7ce9cb854e0d5d20e40a3123abc15f1a056145afb7b4465487404"
_EPOCHS, _SPARSITY = 5, 0.5  # a higher sparsity needs more epochs
_WORLD_SIZE = 2
_DRAWS = 64
_READ_BYTES = 2**32


def torch_build() -> Result:
    """How torch was built; rows: its back ends of torch.distributed, and each GPU, or why there is none."""
    import torch
    import torch.distributed as dist

    from ugts_dist.gpu_kernels import problem_on

    has_gloo = dist.is_available() and dist.is_gloo_available()
    has_nccl = dist.is_available() and dist.is_nccl_available()
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if has_nccl else "missing"
    rows = [Check("gloo", has_gloo, "there" if has_gloo else "missing"), Check("NCCL", has_nccl, nccl)]
    try:
        torch.cuda.init()
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            free, total = map(Size, torch.cuda.mem_get_info(index))
            kind = f"{gpu.name} (compute capability {gpu.major}.{gpu.minor})"
            problem = problem_on(torch.device("cuda", index))
            draws = f"operations of torch, as {problem}" if problem else "Triton's kernels"
            rows.append(Check(f"cuda:{index}", True, f"{kind}, {free} free of {total}; samples with {draws}"))
    except (RuntimeError, AssertionError) as error:
        rows.append(Check("GPU", False, f"none usable: {first_line(error)}"))
    cuda, hip = torch.version.cuda, torch.version.hip
    build = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU only"
    return f"{torch.__version__}, built for {build}", tuple(rows)


def imports() -> str:
    """Import everything that training needs."""
    import ugts_dist.training.run  # noqa: F401

    return "torch, PyG and this program"


def sampler(name: str) -> str:
    """Draw 1 of 2 neighbours in a tiny graph many times, with our own sampler or another package's kernel.

    Raises InputError, with the reason, if the package can't be used.
    """
    import torch

    from ugts_dist.graphs.kernels import BACKENDS  # without PyG, which imports all of these packages

    indptr, indices, seeds = torch.tensor([0, 2, 2, 2]), torch.tensor([1, 2]), torch.tensor([0])
    if name == "ours":
        from ugts_dist.graphs.sampling import NeighborSampler

        ours = NeighborSampler(indptr, indices, [1], seed=0)
        drawn = {int(ours.sample(step, seeds).nodes[1]) for step in range(_DRAWS)}
    else:
        if problem := BACKENDS[name].problem():
            raise InputError(problem)
        torch.manual_seed(0)
        drawn = {int(BACKENDS[name].kernel(indptr, indices, seeds, [1])[0][1]) for _ in range(_DRAWS)}
    if not drawn <= {1, 2}:
        raise InputError(f"{name} draws nodes {sorted(drawn)} where 1 and 2 are the neighbours")
    return "works" if len(drawn) == 2 else "works, but does not draw uniformly: the last neighbour is left out"


def datasets(root: str, base: str) -> Result:
    """The searched folders: `root` if given, UGTS_DATA and the download folder; rows: each dataset in each of them.

    Relative folders are relative to `base`.
    """
    from ugts_dist.graphs import catalogue
    from ugts_dist.graphs.files import missing

    given = [root, os.environ.get(catalogue.DATA_VARIABLE, ""), catalogue.DEFAULT_ROOT]
    roots = list(dict.fromkeys(str(Path(base, Path(place).expanduser())) for place in given if place))
    rows: list[Check] = []
    for name in catalogue.NAMES:
        folder, files = catalogue.raw_files(name)
        absent = {str(Path(place, folder)): missing(Path(place, folder), files) for place in roots}
        begun = {place: ", ".join(lacks) for place, lacks in absent.items() if len(lacks) < len(files)}
        rows += [
            Check(name, not lacks, f"{place}, incomplete: {lacks} missing" if lacks else place)
            for place, lacks in begun.items()
        ] or [Check(name, not files, "not found" if files else "embedded")]
    return ", ".join(roots), tuple(rows)


def stores(folder: str, base: str) -> Result:
    """The folder of graph stores, by default UGTS_STORES or the usual one; rows: each store's counts or problem.

    Relative folders are relative to `base`. Unchecked arrays are read, except those of large stores, which would take
    minutes.
    """
    from ugts_dist.graphs import catalogue, store
    from ugts_dist.graphs.store_check import is_checked

    parent = Path(base, folder or catalogue.stores_folder())
    rows: list[Check] = []
    for place in sorted(filter(store.is_store, parent.glob("*"))):
        size = Size(sum(path.stat().st_size for path in place.iterdir()))
        try:
            is_read = size <= _READ_BYTES or is_checked(place)
            graph = store.open_store(place, remember=False, shares=True) if is_read else store.describe_store(place)
        except InputError as error:
            rows.append(Check(place.name, False, f"does not open: {error}"))
            continue
        nodes, edges = f"{graph.num_nodes:,} nodes", f"{graph.num_edges:,} edges"
        features = f"{graph.num_features} features"
        features += "" if graph.share is None else f" (share {graph.share})"
        labels = f"{graph.num_classes} {'classes' if graph.has_classes else 'labels or targets'}"
        use = labels if graph.has_split else "for prediction and links only"
        rows.append(Check(place.name, True, f"{nodes}, {edges}, {features}, {use}, {size}"))
    return str(parent) if rows else f"none in {parent}; `ugts prepare` makes them", tuple(rows)


def weights() -> str:
    """Frozen weights are the same on every machine."""
    from ugts_dist.supermask.weights import Init, fingerprint, random_tensor

    inits: tuple[Init, ...] = get_args(Init)
    digest = fingerprint({init: random_tensor(0, "weight", "lin.weight", (16, 10), init) for init in inits})
    if digest != FINGERPRINT:
        raise AssertionError(f"the weights have fingerprint {digest[:16]}..., not {FINGERPRINT[:16]}...")
    return f"{len(inits)} initialisations have their fingerprint"


def threshold() -> str:
    """The k-th smallest score is that of a sort, bit for bit, with ties and over several tensors."""
    import numpy as np
    import torch

    from ugts_dist.supermask import kth_smallest

    values = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    values[::3] = np.round(values[::3], 2) + 0.0  # ties, of zeros with one sign
    group = list(torch.from_numpy(values).split([7, 100_000, 199_993]))
    places = [0, 1, len(values) // 3, len(values) // 2, len(values) * 99 // 100, len(values) - 1]
    selected, by_sort = [float(kth_smallest([group], [k])) for k in places], np.sort(values)[places].tolist()
    if selected != by_sort:
        raise AssertionError(f"the scores at places {places} are {selected}, by a sort {by_sort}")
    return f"equal to a sort at {len(places)} places of {len(values):,} scores"


def all_reduce() -> str:
    """Processes add up their ranks with gloo; their rendezvous is a file."""
    from torch.multiprocessing.spawn import start_processes

    start_processes(_add_ranks, (), _WORLD_SIZE, start_method="fork")
    return f"{_WORLD_SIZE} processes agree on a sum"


def _add_ranks(rank: int) -> None:
    import torch
    import torch.distributed as dist

    meet = Path("meet").absolute().as_uri()
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=_WORLD_SIZE)
    total = torch.full((1000,), float(rank + 1))
    dist.all_reduce(total)
    expected = _WORLD_SIZE * (_WORLD_SIZE + 1) / 2
    if not bool((total == expected).all()):
        raise AssertionError(f"the sum over {_WORLD_SIZE} processes is {float(total[0])}, not {expected}")
    dist.barrier()
    dist.destroy_process_group()


def training(device: str) -> str:
    """A few epochs with sampled mini-batches on the embedded graph; the losses are finite."""
    import torch

    from ugts_dist.config import load_preset
    from ugts_dist.distributed.ranks import Ranks
    from ugts_dist.training.run import run

    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    changes = {"supermask.sparsity": _SPARSITY, "run.epochs": _EPOCHS, "log.to": []}
    own = {"run.device": place.type, "run.folder": f"run-{place.type}"}
    result, folder = run(load_preset("digits").replace(changes | own), Ranks(device=place))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    if len(losses) != _EPOCHS or not all(math.isfinite(loss) for loss in losses):
        raise AssertionError(f"the losses of {_EPOCHS} epochs are {losses}")
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {_EPOCHS} epochs, test accuracy {result.test:.3f}"


def same_samples(device: str) -> str:
    """The sampler draws the same subgraphs on a device as on the CPU."""
    import torch

    from ugts_dist.graphs import catalogue
    from ugts_dist.graphs.sampling import NeighborSampler

    graph, steps = catalogue.load("digits"), 5

    def sampled(place: str, step: int) -> list[torch.Tensor]:
        sampler = NeighborSampler(graph.indptr.to(place), graph.indices.to(place), [10, 5, 3], seed=1)
        sample = sampler.sample(step, graph.train[step * 64 : (step + 1) * 64].to(place))
        hops = [tensor for hop in sample.hops for tensor in (hop.indptr, hop.indices)]
        return [tensor.cpu() for tensor in (sample.nodes, *hops)]

    for step in range(steps):
        if not all(map(torch.equal, sampled("cpu", step), sampled(device, step))):
            raise AssertionError(f"step {step} draws another subgraph on {device} than on the CPU")
    return f"{steps} steps draw the same subgraphs as on the CPU"
