"""Many runs at once, each found again by what determines it and never repeated."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from tuning.cluster import connected
from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.run import run
from ugts_dist.training.run_key import run_key as run_key

Task = Callable[[Config, Path], str]

_QUIET: Mapping[str, Any] = {"log.progress": False, "log.tensorboard": False, "checkpoint.keep_last": 0}


def finished(config: Config, store: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    folder = store / run_key(config)
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {**result, "path": str(folder / Path(result["path"]).name)}


def failure(config: Config, store: Path) -> str:
    """Why a run came to no result, such as a loss that stopped being finite; empty where none is known."""
    file = store / f"{run_key(config)}.failed"
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def find_or_run(config: Config, store: Path) -> dict[str, Any]:
    """The result of the run: read where it is finished, made where it is not.

    A run is made in a folder of its own and renamed when it is finished, so that several processes can share a store.
    """
    if finished(config, store) is None:
        store.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=store))
        try:
            run(config.replace({"run.folder": str(folder / "run")}), Ranks())
            with contextlib.suppress(OSError):  # another process has just finished the same run
                (folder / "run").rename(store / run_key(config))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    result = finished(config, store)
    assert result is not None
    return result


def find_or_note(config: Config, store: Path) -> str:
    """The same; why it came to no result where the loss stopped being finite, which is noted in the store."""
    try:
        find_or_run(config, store)
    except FloatingPointError as error:
        write_text(store / f"{run_key(config)}.failed", f"{error}\n")
        return str(error)
    return ""


def run_grid(
    configs: Sequence[Config], store: Path, workers: int, title: str = "runs", address: str = ""
) -> list[dict[str, Any]]:
    """The results of all configurations, `workers` processes of one thread at a time, or as many as a cluster holds.

    Interrupted, it goes on where it was: a finished run is kept in `store` under its key. A run whose loss stops
    being finite has no result; it is noted and not tried again. Any other failure ends the grid.
    """
    todo = [config for config in configs if finished(config, store) is None]
    for_each(find_or_note, todo, store, workers, title, address)
    results = [finished(config, store) for config in configs]
    return [result for result in results if result is not None]


def for_each(
    task: Task, configs: Sequence[Config], store: Path, workers: int, title: str = "runs", address: str = ""
) -> None:
    """Do a task for every configuration that has not failed before, each once, on processes or on a cluster."""
    todo = {run_key(config): config.replace(_QUIET) for config in configs if not failure(config, store)}.values()
    if todo:
        done = _on_cluster(task, todo, store, address) if address else _on_processes(task, todo, store, workers)
        for _ in track(done, title, total=len(todo)):
            pass


def _on_processes(task: Task, configs: Collection[Config], store: Path, workers: int) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        futures = [pool.submit(task, config, store) for config in configs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _on_cluster(task: Task, configs: Collection[Config], store: Path, address: str) -> Iterator[str]:
    """Tasks of one CPU each; a task whose node is lost is tried again elsewhere."""
    with connected(address, cpus=0):
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(_on_one_thread)
        waiting = [remote.remote(task, config, store.absolute()) for config in configs]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)


def _on_one_thread(task: Task, config: Config, store: Path) -> str:
    _one_thread()
    return task(config, store)


def _begin() -> None:
    """In a new process: one thread, and an end with the process that started it, however that ends."""
    _one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _one_thread() -> None:
    torch.set_num_threads(1)
