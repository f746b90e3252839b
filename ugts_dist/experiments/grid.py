"""Many runs at once, each found again by what determines it and never repeated."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from ugts_dist.config import Config
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.run import run

FORMAT = 1  # raised when a change of the program changes what a configuration gives


def run_key(config: Config) -> str:
    """Names a run by a hash of all that determines its result: not its folder, its log or where the data lies."""
    values = config.to_dict()
    del values["log"], values["run"]["folder"], values["run"]["device"], values["data"]["root"]
    text = json.dumps([FORMAT, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finished(config: Config, store: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    path = store / run_key(config) / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def find_or_run(config: Config, store: Path, ranks: Ranks) -> dict[str, Any]:
    """The result of the run: read where it is finished, made where it is not. Every rank must call it."""
    found = finished(config, store)
    if ranks.agree("found" if found else "") and found:
        return found
    folder = store / run_key(config)
    if ranks.is_main and folder.exists():
        shutil.rmtree(folder)  # begun and never finished
    ranks.agree("ready")
    result, _ = run(config.replace({"run.folder": str(folder)}), ranks)
    return {"path": str(folder), **result.to_dict()}


def run_grid(configs: Sequence[Config], store: Path, workers: int, title: str = "runs") -> list[dict[str, Any]]:
    """The results of all configurations, `workers` processes of one thread at a time.

    Interrupted, it goes on where it was: a finished run is kept in `store` under its key.
    """
    quiet: Mapping[str, bool] = {"log.progress": False, "log.tensorboard": False}
    todo = {run_key(c): c.replace(quiet) for c in configs if finished(c, store) is None}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(find_or_run, config, store, Ranks()) for config in todo.values()]
        for future in track(as_completed(futures), title, total=len(futures), disable=not futures):
            future.result()
    results = [finished(config, store) for config in configs]
    return [result for result in results if result is not None]


def _one_thread() -> None:
    torch.set_num_threads(1)
