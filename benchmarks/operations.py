"""How many operations one training step starts, by preset: what a GPU's host has to launch.

    UGTS_DATA=DATA .venv/bin/python benchmarks/operations.py cora-gcn cora-gat-deep
    ... operations.py cora-gcn --list                                    # each kind of operation and its number

Prints `PRESET N`. N counts the operations below autograd that compute something; views of tensors launch nothing and
are left out. A step is what a run repeats: threshold, forward, backward, Adam. Runs without a GPU: the number of
operations is the same on any device, but for composite ones, which a device may split differently.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.configured import load_data
from ugts_dist.tasks import make_task
from ugts_dist.training.trainer import make_trainer

PRESETS = ("cora-gcn", "cora-gat", "cora-gin", "cora-gcn-deep", "cora-gat-deep")
_SPARSITY = 0.3
_ALLOCATING = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach")
_WARM_UP = 2  # steps, after which everything that is computed once is there


class Operations(TorchDispatchMode):
    """Counts the operations that are called within it, but for those that launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _launches_nothing(func):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def _launches_nothing(func: Any) -> bool:
    """Whether an operation is a view, allocates only, or belongs to the profiler."""
    namespace, name = func._schema.name.split("::")
    is_view = func.is_view or torch.Tag.inplace_view in func.tags
    return is_view or name in _ALLOCATING or namespace == "profiler"


def operations(preset: str, root: str) -> Counter[str]:
    """The operations of one step of a preset."""
    config = load_preset(preset).replace({"data.root": root, "log.to": []})
    trainer = make_trainer(config, make_task(load_data(config), config), Ranks())
    batches = (batch for epoch in range(_WARM_UP + 1) for batch in trainer.batches.epoch(epoch))
    for _ in range(_WARM_UP):
        trainer.step(next(batches), _SPARSITY)
    batch = next(batches)
    with Operations() as counted:
        trainer.step(batch, _SPARSITY)
    return counted.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--list", action="store_true", help="each kind of operation and its number")
    options = parser.parse_args()
    for preset in options.presets:
        counts = operations(preset, options.root)
        print(preset, sum(counts.values()), flush=True)
        for name, count in counts.most_common() if options.list else []:
            print(f"    {count:5} {name}")


if __name__ == "__main__":
    main()
