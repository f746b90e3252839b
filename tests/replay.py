"""Records as a CUDA graph does, on a CPU: a trace of the operations below autograd, with the tensors that they read."""

from __future__ import annotations

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ugts_dist.recorded import Function


def by_make_fx(function: Function) -> Function:
    """Trace a function. Python does nothing in a repetition but call one operation of torch after another."""
    trace = make_fx(lambda: function())()

    def repeat() -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = trace()
        return result

    return repeat
