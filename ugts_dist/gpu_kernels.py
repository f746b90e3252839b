"""Kernels of ours on a GPU: how they are started, and whether they can be. They are written in Triton."""

from __future__ import annotations

import functools
import threading
from typing import Any

import torch

from ugts_dist.errors import first_line
from ugts_dist.hashing import below, stream

_COUNT = 1 << 10
_checking = threading.Lock()  # Triton starts in the thread that is first


def problem_on(device: torch.device) -> str:
    """Why Triton's kernels can't run on a GPU, in one line; empty if they can.

    The first call for a device imports Triton, which also needs a C compiler, and draws some numbers there.
    """
    with _checking:
        return _problem_on(device)


@functools.cache
def _problem_on(device: torch.device) -> str:
    counters = torch.arange(_COUNT, device=device)
    try:
        from ugts_dist.hashing_kernels import numbers_below

        numbers = torch.empty_like(counters)
        with torch.cuda.device(device):
            launch(numbers_below, _COUNT, counters, numbers, _COUNT, _COUNT, _COUNT)
        expected = below(stream(_COUNT, counters), torch.full_like(counters, _COUNT))
        return "" if torch.equal(numbers, expected) else "Triton's kernels draw other numbers than torch"
    except ImportError:
        return "Triton is not installed"
    except Exception as error:  # of the compiler or the driver
        return f"Triton does not work: {first_line(error)}"


def launch(kernel: Any, size: int, *arguments: Any, block: int = 512, **constants: Any) -> None:
    """Start a kernel for `size` elements, of which each program has `block`, on the current GPU and stream.

    Products and sums are not fused, so that they are rounded as on a CPU.
    """
    kernel[(-(-size // block),)](*arguments, BLOCK=block, enable_fp_fusion=False, **constants)
