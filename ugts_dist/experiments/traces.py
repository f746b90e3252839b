"""Traces of a study's runs over training, which are stored and never repeated."""

from __future__ import annotations

import json
from pathlib import Path

from ugts_dist.analysis.trace import Trace, trace_training
from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.device import own_device
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.experiments.grid import run_key
from ugts_dist.experiments.known import Known
from ugts_dist.text_files import read_json

_MEASUREMENTS = 40  # measurements per training


def find_trace(config: Config, store: Path, known: Known) -> Trace | None:
    """The stored or known trace of a run, or None."""
    file = _file(config, store)
    return Trace(**read_json(file, "a trace")) if file.exists() else known.trace(config)


def trace_or_reason(config: Config, store: Path) -> str:
    """Train again and store the trace. Returns the reason if a gradient is not finite, otherwise an empty text.

    The failure is not recorded, since the run itself may have a result.
    """
    if not _file(config, store).exists():
        store.mkdir(parents=True, exist_ok=True)
        try:
            ranks = Ranks(device=own_device(config.run.device))
            trace = trace_training(config, max(1, config.run.epochs // _MEASUREMENTS), ranks)
        except FloatingPointError as error:
            return str(error)
        write_text(_file(config, store), json.dumps(trace.to_dict()))
    return ""


def _file(config: Config, store: Path) -> Path:
    return store / f"{run_key(config)}.trace.json"
