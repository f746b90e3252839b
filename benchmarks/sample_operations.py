"""How many operations one sampled batch starts: what a GPU's host has to launch to draw it.

    .venv/bin/python benchmarks/sample_operations.py 15 10 5        # fan-outs, the seeds' own hop first

Prints `sample FAN/FAN/FAN N` for the kernels that a GPU with Triton uses, and `sample FAN/FAN/FAN torch N` for the
operations of torch that are used elsewhere. Both draw the same batch of a random graph, and N counts what computes
something: operations of torch, but for views, and launched kernels. Runs without a GPU, in Triton's interpreter. What
the interpreter itself does is not counted, nor are the copies of the seeds to a GPU and of the sizes to the host.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import torch
from operations import Operations
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime.interpreter import InterpretedFunction

from ugts_dist.graphs.device_sampling import DeviceSampler
from ugts_dist.graphs.sampling import NeighborSampler

_NUM_NODES, _NUM_EDGES, _NUM_SEEDS = 20_000, 400_000, 16


class _Launches(Operations):
    """Counts operations of torch, and every launch of a kernel."""

    def __enter__(self) -> _Launches:
        self._run = InterpretedFunction.run

        def run(kernel: Any, *args: Any, **kwargs: Any) -> None:
            self.counts[f"kernel {kernel.__name__}"] += 1
            with _disable_current_modes():
                self._run(kernel, *args, **kwargs)

        InterpretedFunction.run = run
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        InterpretedFunction.run = self._run


def random_graph() -> tuple[Tensor, Tensor]:
    """Row pointers and sources of uniform random edges."""
    generator = torch.Generator().manual_seed(0)
    destination, source = torch.randint(_NUM_NODES, (2, _NUM_EDGES), generator=generator)
    degree = destination.bincount(minlength=_NUM_NODES)
    return torch.cat([torch.zeros(1, dtype=torch.int64), degree.cumsum(0)]), source.int()


def counts(fan_out: Sequence[int]) -> dict[str, Counter[str]]:
    """The operations of one batch, "" with the kernels and "torch" without."""
    of_graph, seeds = (*random_graph(), fan_out, 0), torch.arange(_NUM_SEEDS)
    kernels, plain = DeviceSampler(*of_graph, with_edges=False), NeighborSampler(*of_graph)
    kernels.queue(0, seeds).sample()  # makes what is kept from sample to sample
    plain.sample(0, seeds)
    with _Launches() as with_kernels:
        kernels.queue(1, seeds).sample()
    with _Launches() as without:
        plain.sample(1, seeds)
    return {"": with_kernels.counts, "torch": without.counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fan_out", nargs="+", type=int, help="neighbours that a node draws at each hop; -1: all")
    parser.add_argument("--list", action="store_true", help="each kind of operation and its number")
    options = parser.parse_args()
    name = "sample " + "/".join(map(str, options.fan_out))
    for way, counted in counts(options.fan_out).items():
        print(*filter(None, (name, way)), sum(counted.values()), flush=True)
        for operation, count in counted.most_common() if options.list else []:
            print(f"    {count:5} {operation}")


if __name__ == "__main__":
    main()
