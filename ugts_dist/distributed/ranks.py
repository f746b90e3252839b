"""The ranks of a run: the process group and the few collectives that training needs."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from ugts_dist.distributed.device import Device, agreed_device, own_device
from ugts_dist.distributed.launcher import Launcher, ends_with_launcher
from ugts_dist.distributed.missing_ranks import MissingRanks, is_of_collective
from ugts_dist.distributed.rendezvous import endpoint_from_environment, open_store
from ugts_dist.errors import InputError, LostRankError

Value = TypeVar("Value")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The identity that Linux draws at every boot; empty on other systems."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. One object, passed around.

    Attributes:
        process_group: None for a run with a single process.
        machine: name of the machine, to show; two machines may have the same name.
        boot: distinguishes machines of the same name; may be empty.
        launcher: the launcher that started this process.
        local_world_size: number of ranks on this machine.
        order: the number of each rank's part in `share`, by rank; empty if it is the rank's own number.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    process_group: dist.ProcessGroup | None = None
    machine: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=boot_id)
    launcher: Launcher = field(default_factory=Launcher, compare=False)
    local_world_size: int = 1
    order: tuple[int, ...] = ()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def machine_id(self) -> str:
        """An identity that exactly the ranks of one machine, which share its memory, have in common."""
        return f"{self.machine} {self.boot}"

    def share(self, size: int) -> tuple[int, int]:
        """This rank's contiguous part of `range(size)`. Every item is in exactly one rank's part."""
        return self.share_of(size, self.rank)

    def share_of(self, size: int, rank: int) -> tuple[int, int]:
        """The part of rank `rank`."""
        part = self.order[rank] if self.order else rank
        return size * part // self.world_size, size * (part + 1) // self.world_size

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over ranks, in place."""
        if self.process_group is not None:
            dist.all_reduce(values, group=self.process_group)
        return values

    def all_reduce_max(self, values: Tensor) -> Tensor:
        """Element-wise maximum over ranks, in place."""
        if self.process_group is not None:
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self.process_group)
        return values

    def broadcast(self, tensor: Tensor) -> Tensor:
        """The main rank's values on every rank, in place."""
        if self.process_group is not None:
            dist.broadcast(tensor, src=0, group=self.process_group)
        return tensor

    def broadcast_text(self, value: str) -> str:
        """The main rank's text on every rank."""
        if self.process_group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.process_group)
        return box[0]

    def all_gather_object(self, value: Value) -> list[Value]:
        """Every rank's value, by rank."""
        values = [value] * self.world_size
        if self.process_group is not None:
            dist.all_gather_object(values, value, group=self.process_group)
        return values

    def machines(self) -> list[str]:
        """Each rank's `machine_id`."""
        return self.all_gather_object(self.machine_id)

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if self.process_group is not None:
            dist.barrier(group=self.process_group)

    def raise_together(self, action: Callable[[], Value]) -> Value:
        """The result of `action`. An InputError on any rank is raised on every rank; the lowest rank's comes first."""
        value, problem = None, None
        try:
            value = action()
        except InputError as error:
            problem = type(error)(str(error))  # without its traceback, which can't be pickled
        for reported in self.all_gather_object(problem):
            if reported is not None:
                raise reported
        return cast(Value, value)


@contextmanager
def ranks_from_environment(device: Device = "auto", timeout: float = 600.0) -> Iterator[Ranks]:
    """The ranks that `torchrun` started, or this process alone. The process group ends with the block.

    A collective that takes longer than `timeout` seconds fails.

    Raises InputError as `endpoint_from_environment` does and, on every rank, as `agreed_device` does; LostRankError,
    with their names, if other ranks have died or do not answer.
    """
    endpoint = endpoint_from_environment()
    if endpoint is None:
        yield Ranks(device=_in_use(own_device(device)))
        return
    launcher = Launcher()
    with ends_with_launcher(launcher):
        store, rank, world_size = open_store(endpoint, timeout), endpoint.rank, endpoint.world_size
    missing = MissingRanks(PrefixStore("roll", store), rank, world_size)
    try:
        with ends_with_launcher(launcher):
            place = _in_use(agreed_device(PrefixStore("device", store), rank, world_size, device))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo",
                store=PrefixStore("group", store),
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=timeout),
            )
            ranks = ranks_of_group(place, launcher)
        yield ranks
    except RuntimeError as error:
        if not is_of_collective(error):
            raise
        raise LostRankError(missing.describe(timeout)) from error
    finally:
        # DDP's reference cycles must be freed before the group: later, its reducer would end the group's threads while
        # it holds the interpreter's lock, for which they wait.
        gc.collect()
        if dist.is_initialized():
            dist.destroy_process_group()


def _in_use(device: torch.device) -> torch.device:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def ranks_of_group(device: torch.device, launcher: Launcher | None = None) -> Ranks:
    """This process among those of the default process group, which must exist. Collective.

    It counts the ranks of this machine, because only torchrun tells their number.
    """
    own = Ranks(dist.get_rank(), dist.get_world_size(), device, dist.group.WORLD, launcher=launcher or Launcher())
    return replace(own, local_world_size=own.machines().count(own.machine_id))
