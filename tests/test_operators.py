from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ugts_dist.models.noise import dropout_factors


def test_a_trace_contains_an_operator_as_a_whole() -> None:
    def factors(step: Tensor) -> Tensor:
        return dropout_factors(torch.arange(5), step, 3, 1, 6, 0.5) * 2

    trace = make_fx(factors)(torch.tensor(4))
    targets = [str(node.target) for node in trace.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.arange.default", "ugts.dropout_factors.default", "aten.mul.Tensor"]
    assert torch.equal(trace(torch.tensor(7)), factors(torch.tensor(7)))


def test_an_operator_does_not_import_the_compiler() -> None:
    program = (
        "import sys, torch; from ugts_dist.supermask import kth_smallest; "
        "print(kth_smallest([[torch.arange(9.0)]], [4]).item(), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4.0", "False"]
