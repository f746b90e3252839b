"""Probes: what torch can use here, whether the samplers work, and which datasets and graph stores exist.

Each function runs in a separate process (see `isolated`), takes and returns JSON values, and writes nothing. It imports
PyG only if needed: PyG imports the other samplers' packages, and one of those may crash.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ugts_dist.errors import InputError

_INDPTR, _INDICES, _SEEDS = torch.tensor([0, 2, 2, 2]), torch.tensor([1, 2]), torch.tensor([0])
_DRAWS = 64
_READ_BYTES = 2**32


def torch_build() -> dict[str, Any]:
    """How torch was built, its back ends of torch.distributed, and the GPUs that it can use.

    Memory is in bytes. `gpu_problem` says why a build for CUDA finds no GPU.
    """
    import torch.distributed as dist

    has_nccl = dist.is_available() and dist.is_nccl_available()
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "gloo": dist.is_available() and dist.is_gloo_available(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if has_nccl else None,
        "gpus": [_gpu(index) for index in range(torch.cuda.device_count())],
        "gpu_problem": "" if torch.cuda.is_available() else _gpu_problem(),
    }


def _gpu(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    capability = f"{properties.major}.{properties.minor}"
    return {"name": properties.name, "capability": capability, "memory_free": free, "memory_total": total}


def _gpu_problem() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "torch is built for the CPU only"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0]
    return "torch finds none"


def imports() -> str:
    """Import everything that training needs."""
    import ugts_dist.training.run  # noqa: F401

    return "torch, PyG and this program"


def sampler() -> str:
    """Draw 1 of 2 neighbours in a tiny graph many times with our own sampler. Returns the result as a text."""
    from ugts_dist.graphs.sampling import NeighborSampler

    ours = NeighborSampler(_INDPTR, _INDICES, [1], seed=0)
    return _verdict("ours", {int(ours.sample(step, _SEEDS).nodes[1]) for step in range(_DRAWS)})


def package(name: str) -> str:
    """The same with another package's kernel. Raises InputError, with the reason, if it can't be used."""
    from ugts_dist.graphs.kernels import BACKENDS

    problem = BACKENDS[name].problem()
    if problem:
        raise InputError(problem)
    torch.manual_seed(0)
    return _verdict(name, {int(BACKENDS[name].kernel(_INDPTR, _INDICES, _SEEDS, [1])[0][1]) for _ in range(_DRAWS)})


def _verdict(name: str, drawn: set[int]) -> str:
    if not drawn <= {1, 2}:
        raise InputError(f"{name} draws nodes {sorted(drawn)} where 1 and 2 are the neighbours")
    return "works" if len(drawn) == 2 else "works, but does not draw uniformly: the last neighbour is left out"


def datasets(root: str, base: str) -> dict[str, Any]:
    """The searched folders (`root` if given, UGTS_DATA and the download folder), and the datasets in them.

    Relative folders are relative to `base`.

    For each name of the catalogue and each folder with any of its raw files: the folder, and the missing files. A
    dataset that is not found has one entry with an empty folder; one without raw files (`embedded`) needs none.
    """
    from ugts_dist.graphs import catalogue
    from ugts_dist.graphs.files import missing

    given = [root, os.environ.get(catalogue.DATA_VARIABLE, ""), catalogue.DEFAULT_ROOT]
    roots = list(dict.fromkeys(str(Path(base, Path(place).expanduser())) for place in given if place))
    entries: list[dict[str, Any]] = []
    for name in catalogue.NAMES:
        folder, files = catalogue.raw_files(name)
        absent = {str(Path(place, folder)): missing(Path(place, folder), files) for place in roots}
        present = [
            {"name": name, "folder": place, "missing": list(lacks), "state": "incomplete" if lacks else "complete"}
            for place, lacks in absent.items()
            if len(lacks) < len(files)
        ]
        state = "not found" if files else "embedded"
        entries += present or [{"name": name, "folder": "", "missing": [], "state": state}]
    return {"roots": roots, "datasets": entries}


def stores(folder: str, base: str) -> dict[str, Any]:
    """The folder of graph stores, by default UGTS_STORES or the usual one; and each store's counts or problem.

    Relative folders are relative to `base`. Unchecked arrays are read, except those of large stores, which would take
    minutes.
    """
    from ugts_dist.graphs import catalogue, store
    from ugts_dist.graphs.store_check import is_checked

    looked_in = Path(base, folder or catalogue.stores_folder())
    entries: list[dict[str, Any]] = []
    for place in sorted(path for path in looked_in.glob("*") if store.is_store(path)):
        size = sum(path.stat().st_size for path in place.iterdir())
        try:
            is_read = size <= _READ_BYTES or is_checked(place)
            graph = store.open_store(place, remember=False) if is_read else store.describe_store(place)
        except InputError as error:
            entries.append({"folder": str(place), "problem": str(error)})
            continue
        counts = {name: getattr(graph, name) for name in ("num_nodes", "num_edges", "num_features", "num_classes")}
        entries.append({"folder": str(place), "problem": "", "name": graph.name, **counts, "bytes": size})
    return {"folder": str(looked_in), "stores": entries}
