"""Progress of a long preparation: bars on a terminal, a line per stage elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ugts_dist.console import errors
from ugts_dist.terminal import escaped

_log = logging.getLogger(__name__)


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """Yield a function of a stage and its finished fraction, which shows both on standard error."""
    console = errors()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        stages: dict[str, TaskID] = {}

        def show(stage: str, done: float) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(escaped(f"{title}: {stage}"), total=1.0)
                if not console.is_terminal:
                    _log.info(stage, extra={"speaker": title})
            bars.update(stages[stage], completed=done)

        yield show
