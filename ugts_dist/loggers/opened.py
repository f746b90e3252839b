"""All loggers of a run, and their ids in its folder, by which a resumed run continues them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ugts_dist.atomic import write_text
from ugts_dist.errors import InputError, first_line
from ugts_dist.loggers import logger_classes
from ugts_dist.loggers.background import Background
from ugts_dist.loggers.base import LoggedRun, Logger

_log = logging.getLogger(__name__)

IDS = "loggers.json"
CLOSE_SECONDS = 20.0  # of all loggers together; a resumed run waits 60 s for the folder, which is held meanwhile


class Loggers:
    """The loggers of these names, open while they are entered; without names, none."""

    def __init__(self, run: LoggedRun, names: Iterable[str] = ()) -> None:
        self._run, self._names = run, tuple(names)
        self._opened: list[Background] = []

    def __enter__(self) -> Self:
        """Open each logger.

        Raises InputError for one that can't begin. One that has begun in this run before, and can't go on now, is left
        out with a warning.
        """
        known = _ids(self._run.folder)
        try:
            for name, kind in logger_classes(self._names).items():
                self._open(name, kind(), known)
        except BaseException:
            self._close(finished=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(finished=kind is None)

    def _open(self, name: str, logger: Logger, known: dict[str, str]) -> None:
        """Open a logger, and add its id to those that are `known`, in the folder too."""
        background = Background(name, logger)
        try:
            own = background.open(self._run, known.get(name, ""))
        except Exception as error:
            if name not in known:
                raise InputError(f"log.to is {name}, which can't begin ({first_line(error)})") from None
            _log.warning(f"log.to {name}: {first_line(error)}; the run resumes without it")
            return
        self._opened.append(background)
        if known.get(name) != own:  # an empty id says that the logger has begun
            known[name] = own
            write_text(self._run.folder / IDS, json.dumps(known))

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluated epoch."""
        for logger in self._opened:
            logger.epoch(number, metrics)

    def result(self, values: Mapping[str, float]) -> None:
        """Log the result of the finished run."""
        for logger in self._opened:
            logger.result(values)

    def _close(self, finished: bool) -> None:
        """End all loggers at once; not `finished` if an error or a signal ended the run."""
        deadline = time.monotonic() + CLOSE_SECONDS
        for logger in self._opened:
            logger.end(finished)
        for logger in self._opened:
            if not logger.join(max(0.0, deadline - time.monotonic())):
                logger.warn(f"not everything is logged after {CLOSE_SECONDS:g} s")


def _ids(folder: Path) -> dict[str, str]:
    """The id of each logger that this run has begun, {name: id}; none if the file is missing or damaged."""
    try:
        held = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: known for name, known in held.items() if isinstance(known, str)} if isinstance(held, dict) else {}
