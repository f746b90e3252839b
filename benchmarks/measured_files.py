"""One cell: a run, the files that can be made of it, and what is measured of each, read back from its bytes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pruning
import small_dense
import torch

from ugts_dist.atomic import write_text
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.config import Config
from ugts_dist.distributed.device import own_device
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.experiments.grid import find_or_note, finished, run_key
from ugts_dist.graphs.configured import load_data
from ugts_dist.tasks import Measure, Task, make_task
from ugts_dist.tensor_file import read_tensor_file

TICKET = "ticket"


@dataclass(frozen=True)
class Pruning:
    """How trained networks are pruned: to each of these sparsities, with so many epochs of training after it."""

    sparsities: tuple[float, ...]
    epochs: int


@dataclass(frozen=True)
class Point:
    """One file: what it is, its bytes (`packed`: without entropy coding of values), and the metric it was measured to
    have."""

    form: str
    sparsity: float
    bytes: int
    packed: int
    valid: float
    test: float


def cell_file(config: Config, store: Path) -> Path:
    return store / f"{run_key(config)}.files.json"


def known(config: Config, store: Path, pruning: Pruning) -> list[Point] | None:
    """The points of a cell that is finished, with this pruning where it is a dense network's."""
    file = cell_file(config, store)
    if not file.exists():
        return None
    cell = json.loads(file.read_text(encoding="utf-8"))
    if cell["pruning"] not in (None, {"sparsities": list(pruning.sparsities), "epochs": pruning.epochs}):
        return None
    return [Point(**point) for point in cell["points"]]


def measure(config: Config, store: Path, pruning: Pruning) -> str:
    """Run and measure the cell, unless it is known; why it came to no result, where the loss stopped being finite."""
    if known(config, store, pruning) is not None:
        return ""
    if failed := find_or_note(config, store):
        return failed
    result = finished(config, store)
    assert result is not None
    dense = config.supermask.method == "dense"
    points = [asdict(point) for point in _points(config, Path(result["path"]), pruning)]
    cell = {"pruning": asdict(pruning) if dense else None, "points": points, "config": config.portable()}
    write_text(cell_file(config, store), json.dumps(cell))
    return ""


def _points(config: Config, path: Path, pruning: Pruning) -> Iterator[Point]:
    ranks = Ranks(device=own_device(config.run.device))
    task = make_task(load_data(config), config)
    evaluator = task.evaluator(config, ranks)
    if config.supermask.method == "dense":
        yield from _Compression(config, path, task, ranks, evaluator).points(pruning)
    else:
        saved = load_saved(path)
        measured = _measured(evaluator, saved.fill(task.network(config)), ranks)
        size = path.stat().st_size
        yield Point(TICKET, saved.metrics["sparsity"], size, size, **measured)


class _Compression:
    """A trained dense network and the files that it can be made into."""

    def __init__(self, config: Config, path: Path, task: Task[Any], ranks: Ranks, evaluator: Measure) -> None:
        self._config, self._task, self._ranks, self._evaluator = config, task, ranks, evaluator
        self._header, self._state = read_tensor_file(path, "dense", "a dense network")

    def points(self, settings: Pruning) -> Iterator[Point]:
        """The network as it is, pruned at once, and pruned and tuned; each with all kinds of values."""
        yield from self._files("whole", 0.0, self._state)
        longer = self._config.replace({"run.epochs": settings.epochs})
        for sparsity in settings.sparsities:
            state = pruning.pruned(self._state, sparsity)
            yield from self._files("pruned", sparsity, state)
            state = pruning.tuned(state, longer, self._task, self._ranks, self._evaluator)
            yield from self._files("pruned, tuned", sparsity, state)

    def _files(self, form: str, sparsity: float, state: pruning.State) -> Iterator[Point]:
        model = self._task.network(self._config)
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        for values in small_dense.VALUES:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network"
                written = small_dense.write(path, state, values, self._header)
                model.load_state_dict(small_dense.read(path, shapes))
            measured = _measured(self._evaluator, model, self._ranks)
            yield Point(f"{form}, {values}", sparsity, written.size, written.packed, **measured)


def _measured(evaluator: Measure, model: Any, ranks: Ranks) -> dict[str, float]:
    """The metric on validation and test data, exactly."""
    return evaluator.measure(model.to(ranks.device).eval(), torch.zeros((), device=ranks.device))[0]
