"""Searches in the list of `ugts runs`. This module imports nothing heavy."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ugts_dist.metrics import by_title
from ugts_dist.report.files import Folder, number
from ugts_dist.report.search_files import Trial, read_manifest, trials_of_manifest
from ugts_dist.terminal import escaped

_log = logging.getLogger(__name__)

_OVER = ("finished", "stopped", "failed")

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True)
class SearchRow:
    """A search. None for what is not known.

    Attributes:
        trials: known so far; a search adds some as it goes on.
        trials_done: finished, stopped early or failed.
        valid: best validation metric of a finished trial, whose network is a ticket.
        dense_valid: the same of a trained dense network.
    """

    folder: str
    state: State
    metric: str | None
    trials: int
    trials_done: int
    trials_failed: int
    valid: float | None
    dense_valid: float | None
    kind: Literal["search"] = "search"


def search_row(path: Path) -> SearchRow:
    """The row of a search. A line is logged for each file that can't be read."""
    folder = Folder(path)
    answer = folder.json("answer.json")
    manifest = read_manifest(folder)
    trials = trials_of_manifest(folder, manifest)
    states = [trial.state for trial in trials]
    done = sum(state in _OVER for state in states)
    for problem in folder.problems:
        _log.warning(problem)
    finished = answer is not None and done == len(states)
    return SearchRow(
        folder=str(path),
        state="damaged" if folder.problems else "finished" if finished else "unfinished",
        metric=str((answer or {}).get("metric", manifest.metric)) or None,
        trials=len(states),
        trials_done=done,
        trials_failed=states.count("failed"),
        valid=_best([trial for trial in trials if not trial.dense]),
        dense_valid=_best([trial for trial in trials if trial.dense]),
    )


def _best(trials: Sequence[Trial]) -> float | None:
    known = [trial for trial in trials if number(trial.values, "valid") is not None]
    best = max if all(by_title(str(trial.values["metric"])).higher_is_better for trial in known) else min
    return best((float(trial.values["valid"]) for trial in known), default=None)


def search_lines(rows: Sequence[SearchRow]) -> list[str]:
    """The table of searches; empty without any."""
    headings = ("search", "state", "trials", "failed", "valid", "dense valid")
    cells = [
        [
            escaped(row.folder),
            row.state,
            f"{row.trials_done}/{row.trials}",
            str(row.trials_failed),
            *("-" if value is None else f"{value:.4f}" for value in (row.valid, row.dense_valid)),
        ]
        for row in rows
    ]
    return aligned(headings, cells, ("search", "state")) if rows else []


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], texts: Container[str]) -> list[str]:
    """Aligned lines that are never folded, so that each row has one; `texts` are the columns that hold no numbers."""
    cells = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        (
            text.ljust(width) if column in texts else text.rjust(width)
            for column, text, width in zip(headings, line, widths, strict=True)
        )
        for line in cells
    )
    return ["  ".join(line).rstrip() for line in lines]
