"""One run from its configuration to its folder, and a saved network back to its accuracy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from ugts_dist.atomic import write_text
from ugts_dist.config import Config, load_toml
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.training.evaluate import Evaluator
from ugts_dist.training.fit import Result, fit
from ugts_dist.training.methods import build_model, load_saved
from ugts_dist.training.ranks import Ranks


def run(config: Config, ranks: Ranks) -> tuple[Result, Path]:
    """Load the graph, make the run folder, fit; `result.json` is written last.

    Raises InputError before training starts for every mistake in the input.
    """
    graph = ranks.together(lambda: _checked_graph(config, ranks))
    folder = Path(ranks.agree(ranks.together(lambda: str(_make_folder(config)) if ranks.is_main else "")))
    try:
        result = fit(config, graph, ranks, folder)
    except InputError:  # such as data that can't be calibrated on: there is nothing in the folder yet
        if ranks.is_main:
            shutil.rmtree(folder)
        raise
    if ranks.is_main:
        write_text(folder / "result.json", json.dumps(result.to_dict(), indent=1))
    return result, folder


def evaluate(path: Path, ranks: Ranks, root: str = "") -> tuple[Config, dict[str, float], dict[str, float]]:
    """Rebuild a saved ticket or dense network: its configuration, the accuracies measured now, those it was saved with.

    `path` is the file, or the folder of its run. Raises InputError for anything else.
    """
    if path.is_dir():
        found = [path / name for name in ("best.ticket", "best.safetensors") if (path / name).exists()]
        if not found:
            raise InputError(f"{path}: no best.ticket or best.safetensors in this folder")
        path = found[0]
    config, fill, saved = load_saved(path)
    beside = path.parent / "config.toml"  # of the run, which knows where its graph lies
    root = root or (load_toml(beside).data.root if beside.exists() else "")
    graph = load_graph(config.replace({"data.root": root}) if root else config)
    model = fill(build_model(config, graph)).to(ranks.device)
    measured, _ = Evaluator(graph, ranks).measure(model, torch.zeros((), device=ranks.device))
    return config, measured, saved


def load_graph(config: Config) -> Graph:
    """The graph that the configuration names."""
    data = config.data
    return catalogue.load(data.name, data.root or None, data.split, data.row_normalize)


def _checked_graph(config: Config, ranks: Ranks) -> Graph:
    """The graph, with a seed node for every rank in every step."""
    graph = load_graph(config)
    if config.batch.size:
        SeedPlan(graph.train, config.batch.size, config.run.seed, ranks.rank, ranks.world_size)
    elif graph.train.numel() < ranks.world_size:
        raise InputError(
            f"{graph.name}: {graph.train.numel()} training nodes for {ranks.world_size} ranks, "
            "allowed are at most as many ranks as training nodes"
        )
    return graph


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
