"""What one would write with PyG alone, as in its multi-GPU examples: NeighborLoader, DDP, GraphSAGE.

Started by `sampled_training.py` under torchrun. Each rank holds the whole graph, and every layer computes every node
of its batch. It needs pyg-lib or torch-sparse.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from rank_record import RankRecord, write_record
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import GraphSAGE

from ugts_dist.graphs.store import open_store


def main() -> None:
    options = _arguments()
    record = RankRecord()
    device = torch.device("cpu")
    if options.device == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    graph = open_store(options.store)
    if options.edges is None:
        destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
        edge_index = torch.stack([graph.indices.long(), destination])
        data = Data(x=graph.x.float().clone(), y=graph.y.clone(), edge_index=edge_index)
        del destination, edge_index
    else:
        data = Data(x=graph.x, y=graph.y, edge_index=torch.from_numpy(np.load(options.edges, mmap_mode="r+")))
    loader = NeighborLoader(
        data,
        num_neighbors=options.fan_out,
        input_nodes=graph.train.tensor_split(world_size)[rank].clone(),
        batch_size=options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        is_sorted=options.edges is not None,  # by destination: PyG then makes no second copy of the edges
        pin_memory=device.type == "cuda",
    )
    torch.manual_seed(options.seed)
    model = GraphSAGE(graph.num_features, options.width, len(options.fan_out), graph.num_classes).to(device)
    network = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.lr)
    for batch in record.steps(_epochs(loader), options.steps):
        record.seeds(batch.batch_size)
        batch = batch.to(device, non_blocking=True)
        logits = network(batch.x, batch.edge_index)[: batch.batch_size]
        loss = F.cross_entropy(logits, batch.y[: batch.batch_size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write_record(record, options.out)
    dist.destroy_process_group()


def _epochs(loader: NeighborLoader) -> Iterator[Any]:
    for _ in itertools.count():
        yield from loader


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--fan-out", type=int, nargs="+", required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that sample")
    parser.add_argument("--edges", type=Path, help="edge_index as NPY: it and the features are mapped, not copied")
    return parser.parse_args()


if __name__ == "__main__":
    main()
