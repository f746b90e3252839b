"""A model of the seconds of a training step on several GPUs: what a run counts, and what is assumed of the hardware.

docs/scaling.md explains the formula.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counted:
    """What one rank does in one step, counted in a run.

    Attributes:
        world_size: number of ranks.
        flops: of matrix products, forward and backward.
        moved: bytes that operations read and write, forward and backward.
        operations: of torch in the step; on a GPU the host starts each of them.
        loading_operations: the same for making a batch.
        loading: CPU seconds to make a batch, as a fraction of all of the step.
        collectives: number of them.
        sent: bytes that a rank sends.
    """

    world_size: int
    flops: float
    moved: float
    operations: float
    loading_operations: float
    loading: float
    collectives: float
    sent: float


@dataclass(frozen=True)
class Gpu:
    """What is assumed of a GPU and its host.

    Attributes:
        flops, bytes: a second, of float32 matrix products and of memory.
        flops_reached, bytes_reached: fractions of these that training reaches.
        host: seconds in which a thread of the host starts one operation.
        threads: that make batches.
    """

    name: str
    flops: float
    bytes: float
    flops_reached: float
    bytes_reached: float
    host: float
    threads: int


@dataclass(frozen=True)
class Link:
    """What is assumed of the network between ranks: bytes a second in one direction, and seconds of each collective."""

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Step:
    """Seconds of a step, part by part.

    Attributes:
        host: the training thread starts all operations.
        loading: the other threads start those that make a batch.
        compute: the GPU's work, for both.
        communication: all collectives of a step, none of which overlaps with computing.
    """

    host: float
    loading: float
    compute: float
    communication: float

    @property
    def seconds(self) -> float:
        """No step waits for the GPU, so all of them work at the same time: the slowest counts."""
        return max(self.host, self.loading, self.compute + self.communication)

    @property
    def limit(self) -> str:
        """What the slowest part is."""
        parts = {"host": self.host, "batches": self.loading, "GPU and network": self.compute + self.communication}
        return max(parts, key=lambda name: parts[name])


def predicted(counted: Counted, gpu: Gpu, link: Link) -> Step:
    """The step of a rank."""
    products = counted.flops / (gpu.flops * gpu.flops_reached)
    memory = counted.moved / (gpu.bytes * gpu.bytes_reached)
    alone = counted.world_size == 1
    return Step(
        host=(counted.operations + (0.0 if alone else counted.collectives)) * gpu.host,
        loading=counted.loading_operations * gpu.host / gpu.threads,
        compute=(products + memory) / (1.0 - counted.loading),
        communication=0.0 if alone else counted.collectives * link.latency + counted.sent / link.bandwidth,
    )
