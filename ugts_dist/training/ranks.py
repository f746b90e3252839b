"""The ranks of a run: process group, device and the few collectives that training needs."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from ugts_dist.errors import InputError, LostRankError
from ugts_dist.training.launcher import Launcher, ends_with_launcher
from ugts_dist.training.meeting import meeting_point, open_store
from ugts_dist.training.roll_call import RollCall, Store, is_of_collective

Value = TypeVar("Value")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """An identity that Linux draws whenever a machine starts; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. One object, passed around.

    Attributes:
        process_group: None where the run is a single process.
        machine: name of the machine, for people; two machines may have the same one.
        boot: what else tells machines apart; empty where nothing does.
        launcher: what started this process.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    process_group: dist.ProcessGroup | None = None
    machine: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=boot_id)
    launcher: Launcher = field(default_factory=Launcher, compare=False)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def machine_id(self) -> str:
        """What is the same for the ranks of one machine, which share its memory, and for no others."""
        return f"{self.machine} {self.boot}"

    @property
    def local_world_size(self) -> int:
        """Ranks on this machine, as `torchrun` tells; all of them where it does not."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", str(self.world_size)))

    def share(self, size: int) -> tuple[int, int]:
        """This rank's contiguous part of `range(size)`: every item in exactly one rank's part."""
        return self.share_of(size, self.rank)

    def share_of(self, size: int, rank: int) -> tuple[int, int]:
        """The part of some rank."""
        return size * rank // self.world_size, size * (rank + 1) // self.world_size

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over ranks."""
        if self.process_group is not None:
            dist.all_reduce(values, group=self.process_group)
        return values

    def most(self, values: Tensor) -> Tensor:
        """Element-wise largest over ranks."""
        if self.process_group is not None:
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self.process_group)
        return values

    def from_main(self, tensor: Tensor) -> Tensor:
        """The main rank's values, on every rank."""
        if self.process_group is not None:
            dist.broadcast(tensor, src=0, group=self.process_group)
        return tensor

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, by rank."""
        values = [value] * self.world_size
        if self.process_group is not None:
            dist.all_gather_object(values, value, group=self.process_group)
        return values

    def machines(self) -> list[str]:
        """Each rank's `machine_id`."""
        return self.gather(self.machine_id)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.process_group is not None:
            dist.barrier(group=self.process_group)

    def together(self, action: Callable[[], Value]) -> Value:
        """What `action` returns; where it raises InputError on some rank, the first such error on every rank."""
        value, problem = None, None
        try:
            value = action()
        except InputError as error:
            problem = type(error)(str(error))  # without its traceback, which can't be sent
        for found in self.gather(problem):
            if found is not None:
                raise found
        return cast(Value, value)

    def agree(self, value: str) -> str:
        """The main rank's text, on every rank."""
        if self.process_group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.process_group)
        return box[0]


def own_device(device: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """The GPU of this rank, or the CPU. With fewer GPUs than ranks on a machine, `auto` takes the CPU.

    Raises InputError where CUDA is asked for and there are too few GPUs.
    """
    wanted, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device == "cuda" and gpus == 0:
        raise InputError(_no_gpu())
    if device == "cuda" and gpus < wanted:
        raise InputError(f"device is cuda, but torch finds {gpus} GPU(s) for {wanted} rank(s); allowed is cpu")
    use_cuda = device != "cpu" and gpus >= wanted
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if use_cuda else torch.device("cpu")


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


def agreed_device(store: Store, rank: int, world_size: int, wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`own_device` of this rank, once every rank has told that it has one of the same type.

    The ranks tell by the store: a process group needs to know the type of its devices.

    Raises InputError, the same on every rank, where `own_device` does on some rank, and where the types differ.
    """
    device, problem = torch.device("cpu"), ""
    try:
        device = own_device(wanted)
    except InputError as error:
        problem = str(error)
    store.set(f"own/{rank}", json.dumps([device.type, problem, f"rank {rank} on {socket.gethostname()}"]))
    told = [json.loads(store.get(f"own/{other}")) for other in range(world_size)]
    store.set(f"read/{rank}", "yes")
    if rank == 0:  # it may hold the store, which must not go before all have read it
        for other in range(world_size):
            store.get(f"read/{other}")
    for _, found, who in told:
        if found:
            raise InputError(f"{who}: {found}")
    without = [who for kind, _, who in told if kind == "cpu"]
    if 0 < len(without) < world_size:
        raise InputError(
            f"device is {wanted}, but {', '.join(without)} {'has' if len(without) == 1 else 'have'} no GPU, or "
            "their machine fewer GPUs than ranks, and the other ranks have one; allowed is cpu"
        )
    return device


@contextmanager
def ranks_from_environment(device: Literal["auto", "cpu", "cuda"] = "auto", timeout: float = 600.0) -> Iterator[Ranks]:
    """The ranks that `torchrun` started, or this process alone; the process group ends with the block.

    A collective that does not end within `timeout` seconds is given up.

    Raises InputError where `meeting_point` does and, on every rank, where `agreed_device` does, and LostRankError,
    which names them, where other ranks have died or do not answer.
    """
    point = meeting_point()
    if point is None:
        place = own_device(device)
        if place.type == "cuda":
            torch.cuda.set_device(place)
        yield Ranks(device=place)
        return
    launcher = Launcher()
    with ends_with_launcher(launcher):
        store, rank, world_size = open_store(point, timeout), point.rank, point.world_size
    roll = RollCall(PrefixStore("roll", store), rank, world_size)
    try:
        with ends_with_launcher(launcher):
            place = agreed_device(PrefixStore("device", store), rank, world_size, device)
            if place.type == "cuda":
                torch.cuda.set_device(place)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo",
                store=PrefixStore("group", store),
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=timeout),
            )
        yield Ranks(rank, world_size, place, dist.group.WORLD, launcher=launcher)
    except RuntimeError as error:
        if not is_of_collective(error):
            raise
        raise LostRankError(roll.missing(timeout)) from error
    finally:
        # What DDP keeps in cycles must go before the group: freed after it, its reducer ends the group's threads while
        # it holds the interpreter's lock, for which they wait.
        gc.collect()
        if dist.is_initialized():
            dist.destroy_process_group()
