"""The ranks of a run: process group, device and the few collectives that training needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.errors import InputError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. One object, passed around.

    Attributes:
        process_group: None where the run is a single process.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    process_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, size: int) -> tuple[int, int]:
        """This rank's contiguous part of `range(size)`: every item in exactly one rank's part."""
        return size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over ranks."""
        if self.process_group is not None:
            dist.all_reduce(values, group=self.process_group)
        return values

    def concatenate(self, rows: Tensor, size: int) -> Tensor:
        """Join every rank's `share(size)` of a matrix: `[stop - start, width]` on each -> `[size, width]` on all."""
        if self.process_group is None:
            return rows
        longest = -(-size // self.world_size)
        padded = rows.new_zeros(longest, rows.shape[1])
        padded[: rows.shape[0]] = rows
        gathered = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(gathered, padded, group=self.process_group)
        lengths = [size * (r + 1) // self.world_size - size * r // self.world_size for r in range(self.world_size)]
        return torch.cat([part[:length] for part, length in zip(gathered, lengths, strict=True)])

    def together(self, action: Callable[[], Value]) -> Value:
        """What `action` returns; where it raises InputError on some rank, the first such error on every rank."""
        value, problem = None, ""
        try:
            value = action()
        except InputError as error:
            problem = str(error)
        problems = [problem] * self.world_size
        if self.process_group is not None:
            dist.all_gather_object(problems, problem, group=self.process_group)
        if any(problems):
            raise InputError(next(filter(None, problems)))
        return cast(Value, value)

    def agree(self, value: str) -> str:
        """The main rank's text, on every rank."""
        if self.process_group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.process_group)
        return box[0]


@contextmanager
def ranks_from_environment(device: Literal["auto", "cpu", "cuda"] = "auto") -> Iterator[Ranks]:
    """The ranks that `torchrun` started, or this process alone; the process group ends with the block.

    A rank needs a GPU of its own: with fewer GPUs than ranks on a machine, `auto` takes the CPU.

    Raises InputError where CUDA is asked for and there are too few GPUs.
    """
    wanted, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device == "cuda" and gpus < wanted:
        raise InputError(f"device is cuda, but torch finds {gpus} GPU(s) for {wanted} rank(s); allowed is cpu")
    use_cuda = device != "cpu" and gpus >= wanted
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(place)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Ranks(device=place)
        return
    dist.init_process_group("nccl" if use_cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), place, dist.group.WORLD)
    finally:
        dist.destroy_process_group()
