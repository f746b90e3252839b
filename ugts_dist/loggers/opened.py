"""All loggers of a run, and their ids in its folder, by which a resumed run continues them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from ugts_dist.atomic import write_text
from ugts_dist.errors import InputError, first_line
from ugts_dist.loggers import logger_classes
from ugts_dist.loggers.background import Background
from ugts_dist.loggers.base import LoggedRun

_log = logging.getLogger(__name__)

IDS = "loggers.json"


class Loggers:
    """The loggers that are open; without names, none."""

    def __init__(self, run: LoggedRun, names: Iterable[str] = ()) -> None:
        """Open each logger.

        Raises InputError for one that can't begin. One that has begun in this run before, and can't go on now, is left
        out with a warning.
        """
        self._opened: list[Background] = []
        known = _ids(run.folder)
        for name, kind in logger_classes(names).items():
            logger = Background(name, kind())
            try:
                found = logger.open(run, known.get(name, ""))
            except Exception as error:
                if name not in known:
                    self.close(finished=False)
                    raise InputError(f"log.to is {name}, which can't begin ({first_line(error)})") from None
                _log.warning(f"log.to {name}: {first_line(error)}; the run resumes without it")
                continue
            self._opened.append(logger)
            if found and known.get(name) != found:
                known[name] = found
                write_text(run.folder / IDS, json.dumps(known))

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluated epoch."""
        for logger in self._opened:
            logger.epoch(number, metrics)

    def result(self, values: Mapping[str, float]) -> None:
        """Log the result of the finished run."""
        for logger in self._opened:
            logger.result(values)

    def close(self, finished: bool) -> None:
        """End all loggers; not `finished` if an error or a signal ended the run."""
        for logger in self._opened:
            logger.close(finished)


def _ids(folder: Path) -> dict[str, str]:
    """The id of each logger that this run has begun, {name: id}; none if the file is missing or damaged."""
    try:
        held = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: known for name, known in held.items() if isinstance(known, str)} if isinstance(held, dict) else {}
