"""What saving costs: a checkpoint's size and time beside `torch.save`, and the loop with checkpoints beside without.

    .venv/bin/python benchmarks/checkpoints.py size
    UGTS_DATA=DATA .venv/bin/python benchmarks/checkpoints.py loop --preset cora-gcn --rounds 5
    .venv/bin/python benchmarks/checkpoints.py loop --preset digits

`size`: GCN of width 448 after two steps of Adam. `torch.save` gets the state of the whole model (frozen weights, scores
and buffers) and of the optimiser, flushed to disk like ours. `loop`: the same run with the default checkpoints and with
none, in turns in one process; seconds of the run itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from side_by_side import machine, table

from ugts_dist.atomic import write_text
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.state import Best, Checkpoint, Tensors
from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.models import GNN
from ugts_dist.supermask import sparsify
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results"


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def torch_save(model: torch.nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    with open(path, "wb") as file:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())


def size(depth: int, rounds: int) -> list[str]:
    """A row of the table: bytes and median milliseconds."""
    model = GNN("gcn", 1433, 7, depth, 448)
    mask = sparsify(model, seed=0)
    optimizer = torch.optim.Adam(mask.scores(), lr=0.01, fused=True)
    for _ in range(2):
        for score in mask.scores():
            score.grad = torch.randn_like(score)
        optimizer.step()
    names = list(mask.weights())
    tensors: Tensors = {"trained": dict(zip(names, mask.scores(), strict=True)), "optimizer": {}}
    for name, score in zip(names, mask.scores(), strict=True):
        tensors["optimizer"] |= {f"{name}/{key}": value for key, value in optimizer.state[score].items()}
    measured = {"valid": 0.8, "test": 0.8}
    buffers = {kind: {n: torch.empty_like(v) for n, v in group.items()} for kind, group in tensors.items()}
    best = Best(2, 0.8, 0.8, 0.9)
    state = Checkpoint(
        3, 0, 1, [0.0], 1.0, best, measured, mask.gains(), mask.fingerprint(), False, {}, tensors=buffers
    )

    def copy() -> None:
        for kind, group in tensors.items():
            for name, value in group.items():
                buffers[kind][name].copy_(value.detach())

    copy()
    waits, writes, reads, saves, loads = [], [], [], [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        place, file = Path(folder), Path(folder) / "torch.pt"
        for _ in range(rounds):
            waits.append(seconds(copy))
            writes.append(seconds(lambda: checkpoint.write(place, state, None)))
            saves.append(seconds(lambda: torch_save(model, optimizer, file)))
            reads.append(seconds(lambda: checkpoint.read(place / "checkpoints" / state.name)))
            loads.append(seconds(lambda: torch.load(file, weights_only=True)))
        ours = sum(path.stat().st_size for path in (place / "checkpoints" / state.name).iterdir())
        theirs = file.stat().st_size
    times = [f"{1000 * statistics.median(values):.1f}" for values in (waits, writes, reads, saves, loads)]
    return [str(depth), f"{mask.num_weights:,}", f"{ours:,}", f"{theirs:,}", f"{ours / theirs:.2f}", *times]


def loop(preset: str, epochs: int, rounds: int) -> list[str]:
    """A row of the table: medians over rounds."""
    taken: dict[int, list[float]] = {0: [], 2: []}
    base = load_preset(preset).replace({"log.progress": False, "log.to": []})
    if epochs:
        base = base.replace({"run.epochs": epochs})
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for number in range(rounds + 1):
            for keep_last in (0, 2) if number % 2 else (2, 0):
                place = Path(folder) / f"{number}-{keep_last}"
                result, _ = run(base.replace({"checkpoint.keep_last": keep_last, "run.folder": str(place)}), Ranks())
                if number:  # the first round warms up
                    taken[keep_last].append(result.seconds)
    ratios = [with_them / without for with_them, without in zip(taken[2], taken[0], strict=True)]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    without, with_them = (statistics.median(taken[keep_last]) for keep_last in (0, 2))
    return [preset, str(base.run.epochs), f"{without:.2f}", f"{with_them:.2f}", spread, str(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["size", "loop"])
    parser.add_argument("--preset", nargs="+", default=["cora-gcn", "digits"])
    parser.add_argument("--epochs", type=int, default=0, help="instead of the preset's")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 32])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    headings: tuple[str, ...]
    if options.what == "size":
        times = ("loop waits, ms", "write, ms", "read, ms", "torch.save, ms", "torch.load, ms")
        headings = ("depth", "weights", "checkpoint, bytes", "torch.save, bytes", "ratio", *times)
        text = table(headings, [size(depth, options.rounds) for depth in options.depths])
    else:
        headings = ("preset", "epochs", "seconds without", "seconds with", "ratio", "rounds")
        text = table(headings, [loop(preset, options.epochs, options.rounds) for preset in options.preset])
    RESULTS.mkdir(exist_ok=True)
    text = f"{text}\n\n{machine()}\n"
    write_text(RESULTS / f"checkpoints_{options.what}.md", text)
    print(text)


if __name__ == "__main__":
    main()
