"""What a logger is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class LoggedRun:
    """What loggers know of a run.

    Attributes:
        project: of `log.project`.
        settings: the whole configuration, {"section.field": value}.
        first_epoch: 0, or the epoch from which the run resumes.
    """

    folder: Path
    project: str
    settings: Mapping[str, Any]
    first_epoch: int = 0

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name


class Logger(ABC):
    """Writes what a run measures. On the main rank only, and in a thread of its own: it may wait or fail.

    Attributes:
        extra: the package that it needs, and the name of the extra that installs it; empty if it needs none.
    """

    extra: ClassVar[str] = ""

    @abstractmethod
    def open(self, run: LoggedRun, known: str) -> str:
        """Begin, or continue the logger's own run of the id `known`. Returns its id, empty for a logger without ids."""

    @abstractmethod
    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluated epoch."""

    @abstractmethod
    def result(self, values: Mapping[str, float]) -> None:
        """Log the result of a finished run."""

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End; not `finished` if an error or a signal ended the run, which may be resumed."""
