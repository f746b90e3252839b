"""The integer type of node ids and of offsets into edges: int32 if possible, half the memory of int64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

INT32_MAX = 2**31 - 1


def index_type(*counts: int) -> torch.dtype:
    """The smaller type that holds 0 to each of the counts. Row pointers and columns of a matrix share one type."""
    return torch.int32 if max(counts) <= INT32_MAX else torch.int64


def numpy_index_type(*counts: int) -> np.dtype[Any]:
    """The same type for numpy."""
    return np.dtype(np.int32 if index_type(*counts) == torch.int32 else np.int64)
