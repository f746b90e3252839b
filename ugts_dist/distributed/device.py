"""The device of a rank: its own GPU, or the CPU."""

from __future__ import annotations

import json
import socket
from typing import Literal

import torch

from ugts_dist.distributed.rendezvous import Store, whole_number
from ugts_dist.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


def own_device(device: Device = "auto") -> torch.device:
    """The GPU of this rank, or the CPU. `auto` uses the CPU on a machine with fewer GPUs than ranks.

    Raises InputError if CUDA is required and there are too few GPUs, and RankInputError for a local rank that is not a
    number.
    """
    wanted, gpus = whole_number("LOCAL_WORLD_SIZE", 1, default=1), torch.cuda.device_count()
    if device == "cuda" and gpus == 0:
        raise InputError(_no_gpu())
    if device == "cuda" and gpus < wanted:
        raise InputError(f"device is cuda, but torch finds {gpus} GPU(s) for {wanted} rank(s); allowed is cpu")
    if device == "cpu" or gpus < wanted:
        return torch.device("cpu")
    return torch.device("cuda", whole_number("LOCAL_RANK", 0, wanted - 1, default=0))


def agreed_device(store: Store, rank: int, world_size: int, wanted: Device) -> torch.device:
    """`own_device` of this rank, after every rank has reported a device of the same type.

    The ranks report through the store, because a process group needs to know the type of its devices.

    Raises InputError, the same on every rank, if `own_device` raises it on some rank or the types differ.
    """
    device, problem = torch.device("cpu"), ""
    try:
        device = own_device(wanted)
    except InputError as error:
        problem = str(error)
    store.set(f"own/{rank}", json.dumps([device.type, problem, f"rank {rank} on {socket.gethostname()}"]))
    reports = [json.loads(store.get(f"own/{other}")) for other in range(world_size)]
    store.set(f"read/{rank}", "yes")
    if rank == 0:  # it may host the store, which has to stay until every rank has read it
        for other in range(world_size):
            store.get(f"read/{other}")
    for _, reported, who in reports:
        if reported:
            raise InputError(f"{who}: {reported}")
    without = [who for kind, _, who in reports if kind == "cpu"]
    if 0 < len(without) < world_size:
        raise InputError(
            f"device is {wanted}, but {', '.join(without)} {'has' if len(without) == 1 else 'have'} no GPU, or "
            "their machine fewer GPUs than ranks, and the other ranks have one; allowed is cpu"
        )
    return device


def _no_gpu() -> str:
    """Why there is no GPU: torch is built without CUDA, or it finds none."""
    cuda = torch.version.cuda
    if cuda is None:
        return (
            f"device is cuda, but torch {torch.__version__} is built for CPUs only; "
            "allowed is cpu, or cuda after `make install TORCH=cuda`"
        )
    return (
        f"device is cuda, but torch {torch.__version__}, built for CUDA {cuda}, finds no GPU: "
        "the GPU or its driver is missing or hidden (nvidia-smi, CUDA_VISIBLE_DEVICES); allowed is cpu"
    )
