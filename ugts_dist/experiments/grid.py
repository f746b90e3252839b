"""Many runs at once, each found again by what determines it and never repeated."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from ugts_dist.config import Config
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.run import run
from ugts_dist.training.run_key import run_key as run_key


def finished(config: Config, store: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    folder = store / run_key(config)
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {**result, "path": str(folder / Path(result["path"]).name)}


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


def run_grid(configs: Sequence[Config], store: Path, workers: int, title: str = "runs") -> list[dict[str, Any]]:
    """The results of all configurations, `workers` processes of one thread at a time.

    Interrupted, it goes on where it was: a finished run is kept in `store` under its key. The first run that fails
    ends the grid, after those that have begun.
    """
    quiet: Mapping[str, Any] = {"log.progress": False, "log.tensorboard": False, "checkpoint.keep_last": 0}
    todo = {run_key(c): c.replace(quiet) for c in configs if finished(c, store) is None}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(find_or_run, config, store) for config in todo.values()]
        try:
            for future in track(as_completed(futures), title, total=len(futures), disable=not futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    results = [finished(config, store) for config in configs]
    return [result for result in results if result is not None]


def _one_thread() -> None:
    torch.set_num_threads(1)
