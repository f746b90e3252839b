"""What is seen in the layers over training, of the runs of a study: kept, and never looked at twice."""

from __future__ import annotations

import json
from pathlib import Path

from ugts_dist.analysis.observe import Trace, observe_training
from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.experiments.grid import noting_failure, run_key

_LOOKS = 40  # over a training


def find_trace(config: Config, store: Path) -> Trace | None:
    """The trace of a run that was observed, or None."""
    file = _file(config, store)
    return Trace(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def observe_or_note(config: Config, store: Path) -> str:
    """Train once more and look; why it failed where a gradient stopped being finite, which is noted in the store."""
    return noting_failure(_observe, config, store)


def _observe(config: Config, store: Path) -> None:
    if find_trace(config, store) is None:
        store.mkdir(parents=True, exist_ok=True)
        trace = observe_training(config, every=max(1, config.run.epochs // _LOOKS))
        write_text(_file(config, store), json.dumps(trace.to_dict()))


def _file(config: Config, store: Path) -> Path:
    return store / f"{run_key(config)}.trace.json"
