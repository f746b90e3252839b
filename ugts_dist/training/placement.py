"""Where graph and features lie: in host memory, one copy for all ranks of a machine, or on each rank's GPU."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Block, SparseFeatures
from ugts_dist.models.sparse import Pattern

_FLOAT_BYTES = 4
_MOST_THREADS = 2
_PART_OF_FREE = 0.5  # of a GPU's free memory that the graph may take: batches and their gradients need the rest


def placed(graph: Graph, config: Config, ranks: Ranks) -> Graph:
    """The graph where the configuration wants it, or where every rank has room; its features in the wanted precision.

    Collective: all ranks decide alike. Raises InputError, on every rank, where the GPU is asked for and the run has
    none, or some rank too small a one.
    """
    wanted, device = config.batch.placement, ranks.device
    if device.type != "cuda":
        if wanted == "device":
            raise InputError("batch.placement is device, but the run is on the CPU; allowed: auto or host")
        return graph
    needed, (free, where) = _bytes(graph, config), _least_free(ranks)
    if wanted == "device" and needed > free:
        raise InputError(
            f"batch.placement is device, but graph and features of {graph.name} take {needed / 2**30:.1f} GiB "
            f"and {free / 2**30:.1f} GiB are free on {where}; allowed: auto or host"
        )
    if wanted == "host" or (wanted == "auto" and needed > _PART_OF_FREE * free):
        return graph
    x = graph.x.to(device)
    return replace(
        graph,
        x=x.bfloat16() if config.optim.precision == "bfloat16" else x,
        indptr=graph.indptr.to(device),
        indices=graph.indices.to(device),
        y=graph.y.to(device),
    )


def evaluation_device(graph: Graph, config: Config, ranks: Ranks) -> torch.device:
    """Where all nodes are evaluated: the GPU if features and two layers' outputs of all nodes fit, else the CPU.

    What a skip connection carries, and what a norm over all nodes waits for, counts as a layer's output each.
    Collective: the CPU is taken on all ranks where one of them has too little free memory.
    """
    device = ranks.device
    if device.type != "cuda":
        return device
    tables = 2 + (config.model.skip != "none") + (config.model.norm == "pairnorm")
    needed = _size(graph.x) + 4 * tables * graph.num_nodes * config.model.width
    return device if needed < _least_free(ranks)[0] else torch.device("cpu")


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A batch is made on a stream of its own, and is whole at the end: the training step never waits for it."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def used_on_this_stream(tensors: Iterable[Tensor]) -> None:
    """Keep memory of another stream from being taken again before the work queued on this one is done."""
    for tensor in tensors:
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))


def block_to(block: Block, device: torch.device) -> Block:
    """The block on a device; itself where it is there already."""
    if block.indptr.device == device:
        return block
    return Block(block.indptr.to(device), block.indices.to(device), block.degree.to(device), block.start)


def features_to(x: SparseFeatures, device: torch.device) -> SparseFeatures:
    """Sparse features on a device; themselves where they are there already."""
    if x.values.device == device:
        return x
    pattern = Pattern(x.pattern.indptr.to(device), x.pattern.indices.to(device), *x.shape)
    return SparseFeatures(pattern, x.values.to(device))


def _least_free(ranks: Ranks) -> tuple[int, str]:
    """Bytes that are free on the GPU of the rank that has least, and which GPU that is; collective."""
    free, _ = torch.cuda.mem_get_info(ranks.device)
    return min(ranks.all_gather_object((free, f"{ranks.device} of rank {ranks.rank} on {ranks.machine}")))


def _bytes(graph: Graph, config: Config) -> int:
    """What the arrays take on a GPU."""
    halved = config.optim.precision == "bfloat16" and graph.x.dtype == torch.float32
    return sum(_size(array) for array in (graph.indptr, graph.indices, graph.y)) + _size(graph.x) // (1 + halved)


def _size(array: Tensor) -> int:
    return array.numel() * array.element_size()


def spare_threads(config: Config, ranks: Ranks) -> int:
    """Threads that sample ahead: on a CPU only cores that training leaves idle."""
    if config.batch.threads >= 0:
        return config.batch.threads
    if ranks.device.type == "cuda":
        return _MOST_THREADS
    spare = len(os.sched_getaffinity(0)) // ranks.local_world_size - torch.get_num_threads()
    return max(0, min(_MOST_THREADS, spare))


def check_size(config: Config, network: torch.nn.Module, ranks: Ranks) -> None:
    """Raises InputError where the memory of this machine, or of the rank's GPU, can't hold what training needs.

    Args:
        network: as it will be trained, on the meta device.
    """
    # Weights, gradients and two moments of each; of a ticket the scores and the masked weights too, and what is frozen.
    dense = not config.supermask.masks
    frozen = not dense and config.supermask.pruned + config.supermask.locked > 0
    copies = (4 if dense else 6) + frozen
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    needed, room = _FLOAT_BYTES * copies * num_weights, _memory(ranks)
    if needed > room:
        model = config.model
        raise InputError(
            f"model.width is {model.width} and model.depth {model.depth}: {num_weights:,} weights, which take "
            f"{needed / 2**30:,.1f} GiB on each rank to train; allowed is what fits into {room / 2**30:,.1f} GiB"
        )


def _memory(ranks: Ranks) -> int:
    """Bytes that each rank has at most: of its GPU, or its share of the machine."""
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_properties(ranks.device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks.local_world_size
