"""Numbers that are too large, or no longer finite, and index types."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.trials.case import case, ugts
from ugts_dist.models.sparse import Pattern, Rows

_SMALL = ("--preset", "digits", "--run.epochs", "2", "--log.to", "--log.no-progress")


@case(r"exit 2: .*optim\.lr is 1e\+39, allowed is above 0, 1e-30 to 1e\+30")
def learning_rate_beyond_float32(folder: Path) -> str:
    """A learning rate that float32 does not hold"""
    return ugts("train", *_SMALL, "--optim.lr", "1e39", "--run.folder", folder / "run").told


@case(r"exit 1: .*not finite.*try a smaller")
def scores_that_overflow(folder: Path) -> str:
    """Scores that overflow in training"""
    return ugts(
        "train", *_SMALL, "--optim.lr", "1e30", "--optim.weight-decay", "1e10", "--run.folder", folder / "run"
    ).told


@case(r"exit 1: .*not finite in epoch 0: try a smaller optim\.lr")
def dense_weights_that_overflow(folder: Path) -> str:
    """A dense network whose weights overflow"""
    dense = ("--supermask.method", "dense", "--optim.lr", "1e30")
    return ugts("train", *_SMALL, *dense, "--run.folder", folder / "run").told


@case(r"exit 2: .*batch\.fan_out is \[9223372036854775808, 5\], allowed is")
def fan_out_beyond_64_bits(folder: Path) -> str:
    """A fan-out of 2^63"""
    return ugts("train", *_SMALL, "--batch.fan-out", str(2**63), "5", "--run.folder", folder / "run").told


@case(r"exit 2: .*model\.width is 10000000000, allowed is 1 to 1048576")
def width_of_ten_billion(folder: Path) -> str:
    """A width of 10^10"""
    return ugts("train", *_SMALL, "--model.width", str(10**10), "--run.folder", folder / "run").told


@case(r"exit 2: .*model\.width is 1048576 and model\.depth 9: [\d,]+ weights, which take [\d,.]+ GiB .* allowed")
def network_beyond_memory(folder: Path) -> str:
    """A network that no machine's memory holds"""
    wide = ("--model.arch", "sage", "--model.width", str(2**20), "--model.depth", "9", "--batch.fan-out", *["5"] * 9)
    return ugts("train", *_SMALL, *wide, "--run.folder", folder / "run").told


@case(r"TypeError: sparse pattern: indptr is torch\.int32 and indices torch\.int64; allowed: both of one type")
def two_index_types(folder: Path) -> str:
    """A sparse matrix with two index types"""
    Pattern(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0]), 1, 1)
    return "taken"


@case(r"^torch\.int32 torch\.int32$")
def rows_of_a_table(folder: Path) -> str:
    """Sampled neighbours read from the table of features"""
    sampled = Pattern(torch.tensor([0, 2], dtype=torch.int32), torch.tensor([0, 1], dtype=torch.int32), 1, 2)
    whole = Rows(torch.ones(9, 3), torch.tensor([7, 4])).columns(sampled)
    return f"{whole.indptr.dtype} {whole.indices.dtype}"
