"""Memory of graph and features: host memory, one copy for all ranks of a machine, or each rank's GPU."""

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
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Block

_FLOAT_BYTES = 4
_MOST_THREADS = 2
_PART_OF_FREE = 0.5  # fraction of a GPU's free memory for the graph: batches and gradients need the rest


def placed(graph: Graph, config: Config, ranks: Ranks, features: FeatureTables) -> Graph:
    """The graph in the configured memory, or on the GPU if every rank has room; features in the configured precision.

    Dense features are those of `features`. Sparse ones are read from there alone, and `x` stays where it is.
    Collective: all ranks decide alike. Raises InputError, on every rank, if the GPU is required and the run has none,
    or some rank's GPU is too small.
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
    if wanted in ("host", "sharded") or (wanted == "auto" and needed > _PART_OF_FREE * free):
        return graph
    halved = config.optim.precision == "bfloat16"
    return replace(
        graph,
        x=graph.x if features.is_sparse else features.dense(device, torch.bfloat16 if halved else None),
        indptr=graph.indptr.to(device),
        indices=graph.indices.to(device),
        y=graph.y.to(device),
        edge_weight=_moved(graph.edge_weight, device),
        edge_attr=_moved(graph.edge_attr, device),
    )


def evaluation_device(
    graph: Graph, config: Config, ranks: Ranks, features: FeatureTables | None = None
) -> torch.device:
    """The device for evaluations: the GPU if features and two layers' outputs of all nodes fit, otherwise the CPU.

    The state of a skip connection, and the input of a norm over all nodes, count as one layer's output each. Features
    that are on the GPU already need no room.
    Collective: all ranks use the CPU if one of them has too little free memory.
    """
    device = ranks.device
    if device.type != "cuda":
        return device
    tables = 2 + (config.model.skip != "none") + (config.model.norm == "pairnorm")
    placed = 0 if features is not None and features.holds(device) else _size(graph.x)
    needed = placed + 4 * tables * graph.num_nodes * config.model.width
    return device if needed < _least_free(ranks)[0] else torch.device("cpu")


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Make a batch on a separate CUDA stream and finish it within the block, so that training steps never wait."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def used_on_this_stream(tensors: Iterable[Tensor]) -> None:
    """Keep memory of another stream allocated until the work queued on this stream is done."""
    for tensor in tensors:
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))


def block_to(block: Block, device: torch.device) -> Block:
    """The block on a device; the same object if it is there already."""
    if block.indptr.device == device:
        return block
    return Block(
        block.indptr.to(device),
        block.indices.to(device),
        block.degree.to(device),
        block.start,
        weight=_moved(block.weight, device),
        attr=_moved(block.attr, device),
        weighted_degree=_moved(block.weighted_degree, device),
    )


def _moved(values: Tensor | None, device: torch.device) -> Tensor | None:
    return None if values is None else values.to(device)


def why_not_recorded(config: Config, ranks: Ranks) -> str:
    """Why the operations of a run on a GPU are not recorded as a CUDA graph; empty if they are."""
    reasons = {
        "optim.graph is never": config.optim.graph == "never",
        "they wait for other ranks": ranks.process_group is not None,
        "a network of model.factory may do anything": bool(config.model.factory),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _least_free(ranks: Ranks) -> tuple[int, str]:
    """The smallest number of free bytes on any rank's GPU, and the name of that GPU. Collective."""
    free, _ = torch.cuda.mem_get_info(ranks.device)
    return min(ranks.all_gather_object((free, f"{ranks.device} of rank {ranks.rank} on {ranks.machine}")))


def _bytes(graph: Graph, config: Config) -> int:
    """Bytes of the arrays on a GPU."""
    halved = config.optim.precision == "bfloat16" and graph.x.dtype == torch.float32
    arrays = (graph.indptr, graph.indices, graph.y, graph.edge_weight, graph.edge_attr)
    tables = 2 if config.batch.first_layer == "exact" else 1
    return sum(_size(array) for array in arrays if array is not None) + tables * _size(graph.x) // (1 + halved)


def _size(array: Tensor) -> int:
    return array.numel() * array.element_size()


def spare_threads(config: Config, ranks: Ranks) -> int:
    """Number of threads that sample ahead; on a CPU only cores that training does not use."""
    if config.batch.threads >= 0:
        return config.batch.threads
    if ranks.device.type == "cuda":
        return _MOST_THREADS
    spare = len(os.sched_getaffinity(0)) // ranks.local_world_size - torch.get_num_threads()
    return max(0, min(_MOST_THREADS, spare))


def check_size(config: Config, network: torch.nn.Module, ranks: Ranks) -> None:
    """Raise InputError if the memory of this machine, or of the rank's GPU, is too small for training.

    Args:
        network: the network to train, on the meta device.
    """
    # Weights, gradients and two moments of each; for tickets also scores, masked weights and frozen masks.
    dense = not config.supermask.masks
    frozen = not dense and config.supermask.pruned + config.supermask.locked > 0
    copies = (4 if dense else 6) + frozen
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    needed, room = _FLOAT_BYTES * copies * num_weights, _memory(ranks)
    if needed > room:
        model = config.model
        where = f"model.width is {model.width} and model.depth {model.depth}"
        where = f"model.factory is {model.factory}" if model.factory else where
        raise InputError(
            f"{where}: {num_weights:,} weights, which take "
            f"{needed / 2**30:,.1f} GiB on each rank to train; allowed is what fits into {room / 2**30:,.1f} GiB"
        )


def _memory(ranks: Ranks) -> int:
    """Bytes of memory for each rank: of its GPU, or its share of the machine's."""
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_properties(ranks.device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks.local_world_size
