"""`ugts tune`: a search from its space to its answer."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path

from tuning.cluster import nodes_alive, ports_line, trials_at_once
from tuning.interrupt import Interrupt, held
from tuning.manifest import open_search, space_of
from tuning.options import TuneOptions
from tuning.plan import list_dense, list_trials
from tuning.space import Space, load_space
from ugts_dist.distributed.ray_cluster import connected

_log = logging.getLogger("ugts_dist.tuning")


def tune(options: TuneOptions) -> None:
    """Begin or resume a search; print the answer and write it to the search's folder.

    Raises InputError, before any trial starts, for every mistake in the space and in the options.
    """
    storage = Path(options.storage)
    space, name = searched(options)
    _refuse_combinations(space)
    interrupt = Interrupt(f"ugts tune --storage {shlex.quote(options.storage)} --resume {name}")
    with (
        open_search(storage / name, space) as manifest,
        held(),
        connected(options.address, options.cpus),
        interrupt.listening(),
    ):
        interrupt.look()
        _log.info(ports_line())
        from tuning.report import plot, show
        from tuning.results import answer_of, write_results
        from tuning.search import Search
        from tuning.view import View

        at_once = trials_at_once(nodes_alive(), space.search, space.source)
        with View(name, every=space.tickets.base.log.every_seconds) as view:
            outcome = Search(space, manifest, at_once, view, interrupt).run()
        answer = answer_of(outcome, space, manifest)
        write_results(answer, outcome, space, manifest)
        plot(answer, name, manifest.folder / "front.png")
        show(answer, name, manifest.folder)


def searched(options: TuneOptions) -> tuple[Space, str]:
    """The space with the chosen objective, and the name of the search."""
    if options.resume:
        return space_of(Path(options.storage) / options.resume), options.resume
    space = load_space(options.space)
    if options.objective == "auto":
        return space, options.name or space.name
    search = replace(space.search, objective=options.objective)
    return replace(space, search=search), options.name or f"{space.name}-{options.objective}"


def _refuse_combinations(space: Space) -> None:
    """Raise InputError for configurations that are not allowed, before anything is written or started."""
    list_dense(space)
    if space.search.kind != "optuna":
        list_trials(space)
