"""Many runs at once. Each is found again by its identity and never repeated."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from ugts_dist.atomic import write_text
from ugts_dist.checkpointing.finished import refuse_other_data
from ugts_dist.checkpointing.identity import run_key as run_key
from ugts_dist.checkpointing.result_file import find_result
from ugts_dist.config import Config
from ugts_dist.distributed.device import own_device
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.ray_cluster import connected
from ugts_dist.errors import InputError
from ugts_dist.terminal import log_to_stderr
from ugts_dist.training.run import run

Task = Callable[[Config, Path], str]

_QUIET: Mapping[str, Any] = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}
_TASKS_A_GPU = 4  # each leaves the GPU idle while its host prepares the next kernels


def finished(config: Config, store: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    return find_result(store / run_key(config))


def refuse_finished_on_other_data(configs: Iterable[Config], store: Path) -> None:
    """Raise InputError if a finished run in the store used other data than its configuration names now.

    Runs whose data are unknown are accepted, with a note.
    """
    folders = {store / run_key(config): config for config in configs}
    made = [(folder, config) for folder, config in folders.items() if (folder / "result.json").exists()]
    refuse_other_data(made, "another folder")


def failure(config: Config, store: Path) -> str:
    """Why a run failed, such as a loss that is not finite; empty if unknown."""
    file = store / f"{run_key(config)}.failed"
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def find_or_run(config: Config, store: Path) -> dict[str, Any]:
    """The result of the run: read if it is finished, otherwise computed on `run.device`.

    A run is made in a temporary folder, which is renamed at the end, so that several processes can share a store.
    """
    if finished(config, store) is None:
        store.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=store))
        try:
            ranks = Ranks(device=own_device(config.run.device))
            run(config.replace({"run.folder": str(folder / "run")}), ranks)
            with contextlib.suppress(OSError):  # another process has just finished the same run
                (folder / "run").rename(store / run_key(config))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    result = finished(config, store)
    assert result is not None
    return result


def find_or_note(config: Config, store: Path) -> str:
    """As `find_or_run`, but if the loss is not finite, record and return the reason."""
    try:
        find_or_run(config, store)
    except FloatingPointError as error:
        write_text(store / f"{run_key(config)}.failed", f"{error}\n")
        return str(error)
    return ""


def run_grid(
    configs: Sequence[Config], store: Path, workers: int, title: str = "runs", address: str = ""
) -> list[dict[str, Any]]:
    """The results of all configurations, with `workers` single-threaded processes, or as many tasks as a cluster holds.

    Processes take the GPUs of the machine in turn; on a cluster with GPUs a few tasks share each of them. An
    interrupted grid can be resumed: `store` keeps each finished run under its key. A run whose loss is not finite has
    no result; it is recorded and not tried again. Any other failure ends the grid.
    """
    refuse_finished_on_other_data(configs, store)
    todo = [config for config in configs if finished(config, store) is None]
    for_each(find_or_note, todo, store, workers, title, address)
    results = [finished(config, store) for config in configs]
    return [result for result in results if result is not None]


def for_each(
    task: Task, configs: Sequence[Config], store: Path, workers: int, title: str = "runs", address: str = ""
) -> None:
    """Run a task once for every configuration that has not failed before, on processes or on a cluster."""
    todo = {run_key(config): config.replace(_QUIET) for config in configs if not failure(config, store)}.values()
    if todo:
        done = _on_cluster(task, todo, store, address) if address else _on_processes(task, todo, store, workers)
        for _ in track(done, title, total=len(todo)):
            pass


def _on_processes(task: Task, configs: Collection[Config], store: Path, workers: int) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(numbers,)) as pool:
        futures = [pool.submit(task, config, store) for config in configs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _on_cluster(task: Task, configs: Collection[Config], store: Path, address: str) -> Iterator[str]:
    """Run tasks with one CPU each, and a fraction of a GPU if there are any. After a lost node, a task is tried again.

    Raises InputError if `run.device` is cuda and the cluster has no GPU.
    """
    with connected(address, cpus=0):
        import ray

        share = gpu_share(ray.cluster_resources())
        if not share:
            configs = [_without_gpu(config) for config in configs]
        elif all(config.run.device == "cpu" for config in configs):
            share = 0.0
        remote = ray.remote(num_cpus=1, num_gpus=share, max_retries=3)(_on_one_thread)
        waiting = [remote.remote(task, config, store.absolute()) for config in configs]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)


def _on_one_thread(task: Task, config: Config, store: Path) -> str:
    log_to_stderr()
    _one_thread()
    return task(config, store)


def gpu_share(resources: Mapping[str, float]) -> float:
    """The fraction of a GPU per task: as many tasks share one as have a CPU each, up to a bound."""
    gpus = resources.get("GPU", 0.0)
    return 1.0 / max(1, min(_TASKS_A_GPU, int(resources.get("CPU", 0.0) // gpus))) if gpus else 0.0


def _without_gpu(config: Config) -> Config:
    if config.run.device == "cuda":
        raise InputError("run.device is cuda, but the cluster has no GPU; allowed is auto or cpu")
    return config.replace({"run.device": "cpu"})


def visible_gpu(number: int, gpus: int, visible: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for a worker: one of `gpus`, or of those that are `visible`, in turn."""
    names = visible.split(",") if visible else [str(gpu) for gpu in range(gpus)]
    return names[number % len(names)]


def _begin(numbers: SimpleQueue[int]) -> None:
    """Set up a new process: one thread, one GPU, and its end with the process that started it."""
    log_to_stderr()
    _one_thread()
    number, gpus = numbers.get(), torch.cuda.device_count()
    if gpus > 1:  # before CUDA starts here, so that it sees only one
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu(number, gpus, visible)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _one_thread() -> None:
    torch.set_num_threads(1)
