"""What the benchmarks share: timing in alternation, so that a busy machine slows all alike, and a Markdown table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def alternate(parts: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each part in each round, with what it queued on a GPU; the parts run in turn: A B A B ..."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(warm_up + rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def milliseconds(seconds: Sequence[float]) -> str:
    """Median, and in brackets the least and the most."""
    low, middle, high = (f"{1000 * f(seconds):.3g}" for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(device: str = "cpu") -> str:
    """What the numbers depend on."""
    threads = torch.get_num_threads()
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    return f"{gpu}{platform.machine()} CPU, threads a process: {threads}, torch {torch.__version__}"
