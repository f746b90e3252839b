"""What a rank says to the others: every collective with its bytes, and what its sockets have sent.

Collectives are counted where torch dispatches them, those of DistributedDataParallel's reducer included. The bytes that
a rank sends follow from the ring algorithms of gloo and NCCL. The count of the kernel's own TCP sockets checks them.
Linux only.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_BYTES_SENT = 200  # offset of tcpi_bytes_sent in struct tcp_info (Linux, include/uapi/linux/tcp.h)

# The rank's own tensors among the arguments of an operation of torch.distributed.
_OWN: Mapping[str, Callable[[Sequence[Any]], Sequence[Tensor]]] = {
    "allreduce_": lambda arguments: arguments[0],
    "broadcast_": lambda arguments: arguments[0],
    "allgather_": lambda arguments: arguments[1],
    "barrier": lambda _: (),
}
_ALLOCATIONS = ("empty", "new_empty", "detach")
_GATHERS = ("_embedding_bag", "_embedding_bag_forward_only", "index", "index_select")  # of a table, at some rows


@dataclass(frozen=True)
class Collective:
    """One call: in which part of a step, its name, and the bytes of this rank's own tensors."""

    part: str
    name: str
    payload: int

    def sent(self, world_size: int) -> float:
        """Bytes that a rank sends in a ring: github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md."""
        if self.name == "allreduce_":
            return 2 * (world_size - 1) / world_size * self.payload
        if self.name == "broadcast_":
            return (world_size - 1) / world_size * self.payload  # the mean over the ranks: the last one sends nothing
        return float((world_size - 1) * self.payload)


class CollectiveVolume(TorchDispatchMode):
    """While it is entered, it counts collectives and operations of torch, by the part of a step.

    Attributes:
        collectives: in the order of their calls.
        operations: by part, how many computed something; views and new memory did not.
        moved: by part, bytes that these read and wrote. Of a table whose rows are gathered, only those rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.collectives: list[Collective] = []
        self.operations: dict[str, int] = {}
        self.moved: dict[str, int] = {}
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is called inside belongs to a part of the step."""
        before, self._part = self._part, name
        yield
        self._part = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, result = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        if func.namespace == "c10d":
            own = _OWN[name](args)
            self.collectives.append(Collective(self._part, name, sum(tensor.nbytes for tensor in own)))
        elif not (func.is_view or name.startswith(_ALLOCATIONS)):
            self.operations[self._part] = self.operations.get(self._part, 0) + 1
            self.moved[self._part] = self.moved.get(self._part, 0) + _moved(name, args, result)
        return result


def _moved(name: str, arguments: Sequence[Any], result: Any) -> int:
    """Bytes that an operation reads and writes."""
    tensors = [value for value in tree_leaves((arguments, result)) if isinstance(value, Tensor)]
    total = sum(tensor.nbytes for tensor in tensors)
    if name in _GATHERS:
        table, rows = arguments[0], next(value for value in tree_leaves(arguments[1:]) if isinstance(value, Tensor))
        total += rows.numel() * table[:1].nbytes - table.nbytes
    return total


def socket_bytes() -> int:
    """Bytes that the open TCP sockets of this process have sent since they were opened."""
    total = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            duplicate = os.dup(number)
        except OSError:  # the listing's own descriptor
            continue
        try:
            with socket.socket(fileno=duplicate) as opened:
                if opened.type == socket.SOCK_STREAM and opened.family in (socket.AF_INET, socket.AF_INET6):
                    information = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += struct.unpack_from("Q", information, _BYTES_SENT)[0]
        except OSError:  # not a socket: `socket` has not taken it over
            os.close(duplicate)
    return total
