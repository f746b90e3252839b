"""Splits for datasets without one, and further splits for those with a small public one."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.errors import InputError

SPLITS = ("train", "valid", "test")
TRAIN_PER_CLASS = 20
VALID_PER_CLASS = 30

# Separate the splits' hashes from those of seeds and neighbours, and from each other.
_STRATIFIED = 0x53504C4954
_REDRAWN = 0x52454452


def redrawn(y: Tensor, train: Tensor, valid: Tensor, split: int) -> tuple[Tensor, Tensor]:
    """Redraw training and validation nodes from both together, with as many training nodes per class as in ``train``.

    A validation set on which many settings were compared no longer tells a better one from a luckier one. Other splits
    of the same nodes give further evidence without using the test nodes. ``y`` is [num_nodes] int64, the ids are
    ascending; the result depends only on these and ``split``.
    """
    pool = torch.cat([train, valid]).sort().values
    pool = pool[hashing.stream(hashing.key(_REDRAWN, split), pool).argsort()]
    classes, counts = y[train].unique(return_counts=True)
    drawn = [pool[y[pool] == label][:count] for label, count in zip(classes, counts.tolist(), strict=True)]
    redrawn_train = torch.cat(drawn).sort().values
    return redrawn_train, pool[~torch.isin(pool, redrawn_train)].sort().values


def stratified(name: str, y: Tensor, split: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw 20 training and 30 validation nodes per class; the rest are test nodes (Shchur et al. 2018,
    arXiv:1811.05868).

    ``y`` is [num_nodes] int64 with every class at least 51 times, else InputError. The result, ascending node ids,
    depends only on ``y`` and ``split``, not on a library's random generator.
    """
    order = hashing.stream(hashing.key(_STRATIFIED, split), torch.arange(y.numel())).argsort()
    train, valid, test = [], [], []
    for label in range(int(y.max()) + 1):
        members = order[y[order] == label]
        if members.numel() <= TRAIN_PER_CLASS + VALID_PER_CLASS:
            wanted = TRAIN_PER_CLASS + VALID_PER_CLASS + 1
            raise InputError(
                f"{name}: y has {members.numel()} nodes of class {label}; allowed: at least {wanted} "
                f"({TRAIN_PER_CLASS} to train, {VALID_PER_CLASS} to validate, the rest to test)"
            )
        train.append(members[:TRAIN_PER_CLASS])
        valid.append(members[TRAIN_PER_CLASS : TRAIN_PER_CLASS + VALID_PER_CLASS])
        test.append(members[TRAIN_PER_CLASS + VALID_PER_CLASS :])
    return torch.cat(train).sort().values, torch.cat(valid).sort().values, torch.cat(test).sort().values
