"""One run from its configuration to its folder, and a saved network back to its accuracy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from ugts_dist.atomic import write_text
from ugts_dist.config import Config, load_toml
from ugts_dist.errors import InputError
from ugts_dist.training.fit import Result, fit
from ugts_dist.training.methods import load_saved
from ugts_dist.training.ranks import Ranks
from ugts_dist.training.tasks import Data, load_data, make_task


def run(config: Config, ranks: Ranks) -> tuple[Result, Path]:
    """Load the data, make the run folder, fit; `result.json` is written last.

    Raises InputError before training starts for every mistake in the input.
    """
    data = ranks.together(lambda: _checked_data(config, ranks))
    folder = Path(ranks.agree(ranks.together(lambda: str(_make_folder(config)) if ranks.is_main else "")))
    try:
        result = fit(config, data, ranks, folder)
    except InputError:  # such as data that can't be calibrated on: there is nothing in the folder yet
        if ranks.is_main:
            shutil.rmtree(folder)
        raise
    if ranks.is_main:
        write_text(folder / "result.json", json.dumps(result.to_dict(), indent=1))
    return result, folder


def evaluate(path: Path, ranks: Ranks, root: str = "") -> tuple[Config, dict[str, float], dict[str, float]]:
    """Rebuild a saved ticket or dense network: its configuration, the metric measured now, and as it was saved with.

    `path` is the file, or the folder of its run. Raises InputError for anything else.
    """
    if path.is_dir():
        found = [path / name for name in ("best.ticket", "best.safetensors") if (path / name).exists()]
        if not found:
            raise InputError(f"{path}: no best.ticket or best.safetensors in this folder")
        path = found[0]
    config, fill, saved = load_saved(path)
    beside = path.parent / "config.toml"  # of the run, which knows where its data lies
    known = load_toml(beside).to_dict()["data"] if beside.exists() else {}
    here = config.replace({f"data.{key}": value for key, value in known.items()})
    task = make_task(load_data(here.replace({"data.root": root}) if root else here))
    model = fill(task.network(config)).to(ranks.device)
    measured, _ = task.evaluator(config, ranks).measure(model, torch.zeros((), device=ranks.device))
    return config, measured, saved


def _checked_data(config: Config, ranks: Ranks) -> Data:
    """The data, once it is known to fit the configuration and the ranks."""
    if config.optim.compress and ranks.device.type != "cuda":
        raise InputError("optim.compress is True, but the ranks are on the CPU; allowed is False (it needs NCCL)")
    data = load_data(config)
    make_task(data).check(config, ranks)
    return data


def new_folder(folder: str, name: str) -> Path:
    """Make `folder`, which must not exist, or where it is empty a new one under runs/; nothing is written over.

    Raises InputError where it exists or can't be made.
    """
    number = 1
    while True:
        path = Path(folder) if folder else Path("runs", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if folder:
                raise InputError(f"run.folder is {folder}, which exists; allowed is a new folder") from None
            number += 1
        except OSError as error:
            raise InputError(f"run.folder is {path}, which can't be made ({error.strerror})") from None
        else:
            return path


def _make_folder(config: Config) -> Path:
    name = f"{config.data.name}-{config.model.arch}-{config.label}-seed{config.run.seed}"
    folder = new_folder(config.run.folder, name)
    write_text(folder / "config.toml", config.to_toml())
    return folder
