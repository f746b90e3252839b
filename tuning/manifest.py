"""The manifest of a search: the states of its trials, in its own file. Resuming never needs Ray's state."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.plan import Trial
from tuning.space import Space, parse_space
from ugts_dist.atomic import write_text
from ugts_dist.checkpointing.finished import refuse_other_data
from ugts_dist.checkpointing.identity import settings_of
from ugts_dist.checkpointing.result_file import find_result
from ugts_dist.checkpointing.run_folder import lock
from ugts_dist.errors import InputError
from ugts_dist.metrics import Metric, by_title
from ugts_dist.report.search_files import SPACE
from ugts_dist.text_files import JSON_BYTES, TOML_BYTES, parse_json, read_bytes, read_text

STATES = ("waiting", "running", "finished", "stopped", "failed", "lost")
OVER = frozenset(("finished", "stopped", "failed"))  # a lost trial is tried again when the search is resumed


@dataclass
class Manifest:
    """The states of a search's trials, written at each change.

    Attributes:
        folder: of the search; its runs are in `runs`, under their keys.
        space: its hash.
        trials: by key: fields, state, and a message for failed trials.
        title: of the metric; empty before the first report of a trial.
    """

    folder: Path
    space: str
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    title: str = ""

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def add(self, trials: Iterable[Trial]) -> None:
        """Add trials to be run. Known entries stay, except that states follow from existing results."""
        for trial in trials:
            known = self.trials.get(trial.key, {})
            state = known.get("state", "waiting")
            if (self.runs / trial.key / "result.json").exists():
                state = "finished"
            elif state not in ("stopped", "failed"):
                state = "waiting"
            self.trials[trial.key] = {**known, "label": trial.label, "seed": trial.config.run.seed, "state": state}
        self.write()

    def state(self, key: str) -> str:
        return str(self.trials.get(key, {}).get("state", "waiting"))

    def message(self, key: str) -> str:
        return str(self.trials.get(key, {}).get("message", ""))

    def change(self, key: str, state: str, message: str = "") -> None:
        """Change a state and write the manifest."""
        self.trials.setdefault(key, {})["state"] = state
        self.trials[key].pop("message", None)
        if message:
            self.trials[key]["message"] = message
        self.write()

    def result(self, key: str) -> dict[str, Any] | None:
        """The result of a finished run, from its own folder; None if there is none."""
        return find_result(self.runs / key)

    @property
    def metric(self) -> Metric:
        """The metric of the trials. Before the first report of one, higher is better."""
        if not self.title:
            results = (self.result(key) for key, trial in self.trials.items() if trial.get("state") == "finished")
            self.title = next((str(result.get("metric", "")) for result in results if result is not None), "")
        return by_title(self.title)

    def measured_by(self, title: str) -> None:
        """Keep the metric that a trial reports."""
        if title != self.title:
            self.title = title
            self.write()

    def write(self) -> None:
        text = json.dumps({"space": self.space, "metric": self.title, "trials": self.trials}, indent=1)
        write_text(self.folder / "manifest.json", text)


@contextmanager
def open_search(folder: Path, space: Space) -> Iterator[Manifest]:
    """Lock the manifest of the search in `folder`, which is created if it does not exist.

    A missing or damaged manifest is rebuilt from the runs' own folders.

    Raises InputError for a folder of another space or in use, for one that can't be written, and for finished runs on
    other data than their configurations name now.
    """
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        opened = open(folder / ".lock", "ab+", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"--storage: {folder} can't be written ({error.strerror})") from None
    with opened as file:
        if holder := lock(file):
            raise InputError(f"{folder}: this search is run by {holder}")
        if (folder / SPACE).exists():
            _refuse_another(folder, space)
        try:
            write_text(folder / SPACE, space.to_toml())
        except OSError as error:
            raise InputError(f"--storage: {folder} can't be written ({error.strerror})") from None
        _refuse_runs_on_other_data(folder / "runs")
        yield Manifest(folder, space.hash, *_known(folder / "manifest.json", space))


def _refuse_runs_on_other_data(runs: Path) -> None:
    """Raise InputError if finished runs used other data: a search can be resumed on the same data only."""
    finished = sorted(file.parent for file in runs.glob("*/result.json") if (file.parent / "config.toml").exists())
    refuse_other_data(((folder, settings_of(folder)) for folder in finished), "another --name")


def space_of(folder: Path) -> Space:
    """The space of an existing search. Raises InputError if there is none."""
    file = folder / SPACE
    if not os.path.exists(file):
        others = sorted(path.parent.name for path in folder.parent.glob(f"*/{SPACE}"))
        listed = f"allowed are {', '.join(others)}" if others else f"there is none under {folder.parent}"
        raise InputError(f"--resume {folder.name}: no such search; {listed}")
    return parse_space(read_text(file, "a space", TOML_BYTES), str(file), folder.name)


def _refuse_another(folder: Path, space: Space) -> None:
    known = space_of(folder)
    if known.hash != space.hash:
        raise InputError(
            f"{folder}: a search of another space than {space.source} ({_difference(known, space)}); "
            f"allowed are that space or another --name"
        )


def _difference(before: Space, current: Space) -> str:
    """The first difference, as a text."""
    for name, was, now in (
        ("base", before.tickets.base.determining(), current.tickets.base.determining()),
        ("fields", before.tickets.to_plain(), current.tickets.to_plain()),
        ("search", before.search.to_dict(), current.search.to_dict()),
    ):
        for key in (*was, *now):
            if was.get(key) != now.get(key):
                return f"{name}: {key} was {was.get(key)!r}, now {now.get(key)!r}"
    return "dense networks"


def _known(file: Path, space: Space) -> tuple[dict[str, dict[str, Any]], str]:
    """The trials and the title of the metric, as far as the file has them."""
    try:
        values = parse_json(read_bytes(file, JSON_BYTES).decode())
        trials = {str(key): dict(trial) for key, trial in values["trials"].items()}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}, ""
    known = all(trial.get("state") in STATES for trial in trials.values())
    return (trials, str(values.get("metric", ""))) if known and values["space"] == space.hash else ({}, "")
