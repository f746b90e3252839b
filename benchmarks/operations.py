"""How many operations one training step starts, by preset: what a GPU's host has to launch.

    UGTS_DATA=DATA .venv/bin/python benchmarks/operations.py cora-gcn cora-gat-deep
    ... operations.py cora-gcn --list                                    # each kind of operation and its number
    ... operations.py --sample 15 10 5                                   # of a sampled batch: sample_operations.py

Prints `PRESET N`. N counts the operations below autograd that compute something; views of tensors launch nothing and
are left out. A step is what a run repeats: threshold, forward, backward, Adam. Runs without a GPU: where a GPU has an
implementation of its own, that one is run and counted, on the CPU. The dropout of a layer is one kernel.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.configured import load_data
from ugts_dist.models.sparse import product_at_entries
from ugts_dist.recorded import Function
from ugts_dist.supermask.reached import num_kept_in_one_vector, unprotected_in_one_vector
from ugts_dist.supermask.threshold import Segments, by_sort
from ugts_dist.tasks import make_task
from ugts_dist.training.trainer import make_trainer

PRESETS = ("cora-gcn", "cora-gat", "cora-gin", "cora-gcn-deep", "cora-gat-deep")
_SPARSITY = 0.3
_ALLOCATING = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach")
_EPOCHS = 4  # the last has the step that is counted: all that is computed once is there


class Operations(TorchDispatchMode):
    """Counts the operations that are called within it, but for those that launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own = _ON_A_GPU.get(func._schema.name)
        if own is not None:
            with self:
                return own(*args)
        if not _launches_nothing(func):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))

    def record(self, step: Function) -> Function:
        """Count the operations of a step. A repetition is the step itself."""
        with self:
            step()
        return step


def _sorted(scores: Sequence[Tensor], counts: Sequence[int], ranks: Tensor, starts: None, offsets: None) -> Tensor:
    """The exact k-th scores as on a GPU, which has the segments of several groups from earlier steps."""
    if len(counts) == 1:
        return by_sort(scores, ranks, None, None)
    parts = iter(scores)
    sizes = [sum(next(parts).numel() for _ in range(count)) for count in counts]
    with torch.utils._python_dispatch._disable_current_modes():
        segments = Segments.of(sizes, ranks.device)
    return by_sort(scores, ranks, segments.starts, segments.offsets)


_ON_A_GPU: dict[str, Callable[..., Tensor]] = {
    "ugts::kth_smallest": _sorted,
    "ugts::num_kept": num_kept_in_one_vector,
    "ugts::unprotected": unprotected_in_one_vector,
    "ugts::sampled_product": product_at_entries,
}


def _launches_nothing(func: Any) -> bool:
    """Whether an operation is a view, allocates only, or belongs to the profiler."""
    namespace, name = func._schema.name.split("::")
    is_view = func.is_view or torch.Tag.inplace_view in func.tags
    return is_view or name in _ALLOCATING or namespace == "profiler"


def operations(preset: str, root: str) -> Counter[str]:
    """The operations of one step of a preset."""
    config = load_preset(preset).replace({"data.root": root, "log.to": []})
    trainer = make_trainer(config, make_task(load_data(config), config), Ranks())
    counted = Operations()
    trainer.record(counted.record)
    for epoch in range(_EPOCHS):
        for batch in trainer.batches.epoch(epoch):
            trainer.step(batch, _SPARSITY)
    return counted.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--list", action="store_true", help="each kind of operation and its number")
    parser.add_argument("--sample", nargs="+", metavar="FAN", help="count those of drawing a batch with these fan-outs")
    options = parser.parse_args()
    if options.sample:
        script = Path(__file__).with_name("sample_operations.py")  # by itself, as it sets how Triton is imported
        subprocess.run([sys.executable, script, *options.sample, *["--list"] * options.list], check=True)
        return
    for preset in options.presets:
        counts = operations(preset, options.root)
        print(preset, sum(counts.values()), flush=True)
        for name, count in counts.most_common() if options.list else []:
            print(f"    {count:5} {name}")


if __name__ == "__main__":
    main()
