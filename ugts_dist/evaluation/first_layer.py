"""The aggregation of a first layer for all nodes, with all neighbours: computed once, shared by the ranks."""

from __future__ import annotations

import itertools

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import tiles
from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.evaluation.whole_graph import block_of_rows, chunks, graph_block, is_sparse
from ugts_dist.graphs.files import within_memory
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.mapping import read_without_ahead
from ugts_dist.index_type import index_type
from ugts_dist.models import Rows, SparseFeatures, aggregate, edges_of
from ugts_dist.models.sparse import Pattern


def aggregate_features(graph: Graph, arch: str, ranks: Ranks, spill: str = "") -> Tensor | SparseFeatures:
    """The sum or mean over in-neighbours that the first layer computes, `[num_nodes, num_features]`. Collective.

    It is on the device of the graph, and sparse if these are. A row has the same bits on any number of
    ranks. `spill`: see `NodeTables`.
    """
    return _sparse(graph, arch) if is_sparse(graph) else _dense(graph, arch, ranks, spill)


def _dense(graph: Graph, arch: str, ranks: Ranks, spill: str) -> Tensor:
    device = graph.x.device
    # The table is float32 as the sums are, but for features that a GPU has in bfloat16.
    tables = NodeTables(graph.num_nodes, ranks, device, spill)
    dtype = torch.bfloat16 if graph.x.dtype == torch.bfloat16 else torch.float32
    if device.type == "cpu" and not spill:
        ranks.raise_together(lambda: _require_room(graph.num_nodes * graph.num_features * dtype.itemsize))
    table = tables.empty(graph.num_features, dtype)
    degree, weighted = graph.degree.to(device), graph.weighted_degree
    weighted = None if weighted is None else weighted.to(device)
    everyone = Rows(graph.x, torch.arange(graph.num_nodes, device=device))
    parts = list(chunks(graph, *ranks.share(graph.num_nodes)))
    blocks = (block_of_rows(graph, degree, *part, weighted) for part in parts)
    if tiles.is_too_large(graph.x):
        memory = tiles.room(ranks.local_world_size)
        for held in tiles.ranges(parts, graph.indptr, graph.num_features, memory):
            rows = slice(held[0][0], held[-1][1])
            table[rows] = tiles.tiled_sums(arch, itertools.islice(blocks, len(held)), graph.x, memory)
    else:
        for (start, stop), block in zip(parts, blocks, strict=True):
            table[start:stop] = aggregate(*edges_of(arch, block), everyone)
    tables.complete([table])
    read_without_ahead([table])
    return table


def _require_room(size: int) -> None:
    """Raise InputError if a table of this size does not fit into the memory."""
    what = "batch.first_layer exact, without a folder on a disk as run.spill"
    with within_memory(what, size, "batch.first_layer sampled"):
        pass


def _sparse(graph: Graph, arch: str) -> SparseFeatures:
    """Each rank computes all of it: sparse features belong to graphs of some 100,000 nodes at most."""
    host = torch.device("cpu")
    pattern, values = edges_of(arch, graph_block(graph, host))
    x = SparseFeatures.of(graph.x.to(host))
    product = _scipy(pattern, values) @ _scipy(x.pattern, x.values)
    product.sort_indices()
    entries = torch.from_numpy(product.data)
    index = index_type(entries.numel(), x.shape[1])
    indptr, indices = (
        torch.from_numpy(part).to(graph.indptr.device, index) for part in (product.indptr, product.indices)
    )
    return SparseFeatures(Pattern(indptr, indices, *x.shape), entries.to(graph.indptr.device))


def _scipy(pattern: Pattern, values: Tensor) -> scipy.sparse.csr_matrix:
    parts = (values.float().numpy(), pattern.indices.numpy(), pattern.indptr.numpy())
    return scipy.sparse.csr_matrix(parts, (pattern.num_rows, pattern.num_cols), dtype=np.float32)
