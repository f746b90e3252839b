"""What one rank of a benchmark takes: seconds of each step and the share spent loading, start-up, peak memory.

The same instrument for every side of a comparison. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

WARM_UP = 3  # steps that are not counted
_EVERY = 0.02  # seconds between two looks at the memory


class RankRecord:
    """Times a rank's steps and watches its memory; made when the imports are done."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first_batch = 0.0
        self._begins: list[float] = []
        self._loading: list[float] = []
        self._seeds: list[int] = []
        self._peak = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def steps(self, batches: Iterable[T], count: int, parts: int = 1) -> Iterator[T]:
        """The batches of `count` steps after the warm-up, `parts` a step; what the consumer does is part of a step."""
        waiting = iter(batches)
        for _ in range(WARM_UP + count):
            _wait_for_gpu()
            self._begins.append(time.perf_counter())
            self._loading.append(0.0)
            self._seeds.append(0)
            for _ in range(parts):
                begin = time.perf_counter()
                batch = next(waiting)
                loaded = time.perf_counter()
                self._first_batch = self._first_batch or loaded
                self._loading[-1] += loaded - begin
                yield batch
        _wait_for_gpu()
        self._begins.append(time.perf_counter())

    def seeds(self, count: int) -> None:
        """Seed nodes of the batch at hand."""
        self._seeds[-1] += count

    def finish(self) -> dict[str, Any]:
        """This rank's figures. Ranks call it together, as memory that they share is counted while all of them live."""
        self._done.set()
        self._watcher.join()
        dist.barrier()
        shared = _fields("/proc/self/smaps_rollup")
        dist.barrier()
        status = _fields("/proc/self/status")
        seconds = [later - earlier for earlier, later in zip(self._begins, self._begins[1:], strict=False)][WARM_UP:]
        return {
            "step": statistics.median(seconds),
            "seeds_per_second": statistics.median(n / s for n, s in zip(self._seeds[WARM_UP:], seconds, strict=True)),
            "loading": sum(self._loading[WARM_UP:]) / sum(seconds),
            "startup": self._first_batch - self._started,
            "private": self._peak,
            "resident": status["VmHWM"],
            "pss": shared["Pss"],
            "gpu": torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0,
        }

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            self._peak = max(self._peak, _fields("/proc/self/status")["RssAnon"])


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def write_record(record: RankRecord, folder: Path, more: Mapping[str, float] | None = None) -> None:
    """Finish, and write this rank's figures; memory is in bytes."""
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps({**record.finish(), **(more or {})}))


def _fields(path: str) -> dict[str, int]:
    """The lines `Name:  number kB` of a file in /proc, in bytes."""
    fields = {}
    for line in Path(path).read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            fields[words[0].rstrip(":")] = int(words[1]) * 1024
    return fields
