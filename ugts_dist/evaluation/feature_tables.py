"""The features of a graph for all that reads them: batches and evaluations share one copy on a device.

Sparse features in host memory are one copy for all ranks of a machine.
"""

from __future__ import annotations

from functools import cached_property
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.evaluation.whole_graph import is_sparse
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import SparseFeatures
from ugts_dist.models.sparse import Pattern

_HOST = torch.device("cpu")


class FeatureTables:
    """The features of all nodes on a device, as a sparse matrix if most are zero. A run has one of these objects.

    A copy on a GPU is made when it is first asked for, and lives as long as something reads it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._on_device: WeakValueDictionary[tuple[torch.device, torch.dtype], Tensor | SparseFeatures]
        self._on_device = WeakValueDictionary()
        # Held, since to make it is collective: whether it still lives must not differ between ranks.
        self._shared: SparseFeatures | None = None

    @cached_property
    def is_sparse(self) -> bool:
        return is_sparse(self._graph)

    def dense(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """All features `[num_nodes, num_features]`, by default of their own type."""
        dtype = dtype or self._graph.x.dtype
        if device.type == "cpu" and dtype == self._graph.x.dtype:
            return self._graph.x
        found = self._on_device.get((device, dtype))
        if not isinstance(found, Tensor):
            found = self._graph.x.to(device).to(dtype)
            self._on_device[device, dtype] = found
        return found

    def on(self, device: torch.device, ranks: Ranks, spill: str = "") -> Tensor | SparseFeatures:
        """Dense features of their own type, or sparse ones in float32. Collective for sparse features on the CPU.

        `spill`: see `NodeTables`.
        """
        if not self.is_sparse:
            return self.dense(device)
        if device.type == "cpu":
            self._shared = self._shared or shared_by_machine(self._graph.x, ranks, spill)
            return self._shared
        found = self._on_device.get((device, torch.float32))
        if not isinstance(found, SparseFeatures):
            found = SparseFeatures.of(self._graph.x).to(device)
            self._on_device[device, torch.float32] = found
        return found

    def holds(self, device: torch.device) -> bool:
        """Whether a copy of the features as they are, or sparse ones, is on a GPU already."""
        dtype = torch.float32 if self.is_sparse else self._graph.x.dtype
        return (device, dtype) in self._on_device


def shared_by_machine(x: Tensor, ranks: Ranks, spill: str = "") -> SparseFeatures:
    """Sparse features in host memory. The first rank of each machine makes them, and all its ranks read them.

    Collective. Raises InputError, on every rank, if there is no room, or a rank does not see its machine's file.
    """
    machines = ranks.machines()
    if ranks.process_group is None or len(set(machines)) == ranks.world_size:
        return SparseFeatures.of(x)
    leader = machines.index(ranks.machine_id)
    own = SparseFeatures.of(x) if ranks.rank == leader else None
    parts = None if own is None else (own.pattern.indptr, own.pattern.indices, own.values)
    layout = None if parts is None else [(part.numel(), part.dtype) for part in parts]
    of_leader = ranks.all_gather_object(layout)[leader]
    assert of_leader is not None
    tables = []
    for number, (size, dtype) in enumerate(of_leader):
        table = NodeTables(max(1, size), ranks, _HOST, spill).empty(1, dtype).view(-1)[:size]
        if parts is not None:
            table.copy_(parts[number])
        tables.append(table)
    ranks.barrier()
    indptr, indices, values = tables
    return SparseFeatures(Pattern(indptr, indices, *x.shape), values)
