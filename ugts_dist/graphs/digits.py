"""scikit-learn's handwritten digits as a nearest-neighbour graph: real data that needs no download."""

from __future__ import annotations

from pathlib import Path

import torch

from ugts_dist.graphs import splits
from ugts_dist.graphs.dataset import Dataset
from ugts_dist.graphs.graph import Graph, from_edges

NUM_NEIGHBOURS = 10
MAX_PIXEL = 16


def dataset(name: str) -> Dataset:
    """Part of scikit-learn: there are no raw files."""
    return Dataset(read)


def read(folder: Path, name: str, split: int) -> Graph:
    """1797 images of 8 x 8 pixels, each joined in both directions to the 10 nearest ones.

    Distances between integer pixels are exact; a tie goes to the image with the lower number. ``split`` is the number
    of the drawn split.
    """
    from sklearn.datasets import load_digits  # only this dataset needs it, and it takes a second

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).double()
    y = torch.from_numpy(labels).long()
    num_nodes = y.numel()
    squares = images.square().sum(dim=1)
    distance = squares[:, None] + squares[None, :] - 2.0 * (images @ images.t())
    distance.fill_diagonal_(float(MAX_PIXEL**2 * images.size(1) + 1))
    # Keys (distance, number) are all different, so that the choice does not depend on the library.
    keys = distance.long() * num_nodes + torch.arange(num_nodes)
    nearest = keys.topk(NUM_NEIGHBOURS, dim=1, largest=False).indices
    pairs = torch.stack([nearest.flatten(), torch.arange(num_nodes).repeat_interleave(NUM_NEIGHBOURS)])
    train, valid, test = splits.stratified(name, y, split)
    x = (images / MAX_PIXEL).float()
    return from_edges(name, x, torch.cat([pairs, pairs.flip(0)], dim=1), y, train, valid, test)
