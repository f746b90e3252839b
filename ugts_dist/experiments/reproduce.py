"""`ugts reproduce`: the runs behind the paper's tables and figures, and their page."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.console import new_table, output, plain
from ugts_dist.distributed.device import own_device
from ugts_dist.errors import InputError
from ugts_dist.experiments.grid import Task, find_or_note, for_each, refuse_finished_on_other_data, run_key
from ugts_dist.experiments.known import Known, load_known
from ugts_dist.experiments.measured import measure, missing
from ugts_dist.experiments.options import ReproduceOptions
from ugts_dist.experiments.page import figures_section, make_page, traces_section
from ugts_dist.experiments.study import TRACES, Study, all_configs, load_study, study_names
from ugts_dist.experiments.study_file import SUFFIX, read_study
from ugts_dist.experiments.traces import find_trace, trace_or_reason
from ugts_dist.graphs.configured import load_data
from ugts_dist.report.markdown import write_page
from ugts_dist.report.owned import PAGE
from ugts_dist.report.page import Section

_log = logging.getLogger(__name__)

_AS_IT_IS = {"data.feature_noise": 0.0, "data.edge_noise": 0.0, "data.left_out": 0.0}


def reproduce(options: ReproduceOptions) -> Path:
    """Make the missing runs, one study after another, and rewrite the page after each. Returns the page.

    Raises InputError, before any run, for an unknown name, a filter that leaves nothing, missing data, and finished
    runs on other data.
    """
    folder = Path(options.folder)
    store = folder / "runs"
    studies, known = _chosen(options), _known(options)
    if options.list:
        _show(studies, store, known)
        return folder
    if options.draw:
        write(studies, store, folder, known)
        return folder / PAGE
    if not options.address:
        own_device(options.device)  # raises InputError for a missing GPU
    studies = _with_data(studies)
    refuse_finished_on_other_data((config for study in studies for config in all_configs(study)), store)
    for study in studies:
        _run(study, store, known, options)
        write(studies, store, folder, known)
    return folder / PAGE


def _run(study: Study, store: Path, known: Known, options: ReproduceOptions) -> None:
    """Make the missing runs of a study."""
    workers = options.workers or os.cpu_count() or 1
    task: Task = find_or_note
    wanted = missing(study, store, known)
    if study.measure in TRACES:
        task = trace_or_reason
        wanted = [config for config in all_configs(study) if find_trace(config, store, known) is None]
    placed = [config.replace({"run.device": options.device}) for config in wanted]
    for_each(task, placed, store, workers, study.name, options.address)


def write(studies: Sequence[Study], store: Path, folder: Path, known: Known) -> None:
    """Write the page of the finished runs, as HTML and Markdown, and their figures as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    write_page(make_page(studies, [_section(study, store, folder, known) for study in studies]), folder)


def _section(study: Study, store: Path, folder: Path, known: Known) -> Section:
    """A study's section of the page; its figures are written beside the page."""
    section: Section
    cells: list[dict[str, Any]]
    if study.measure in TRACES:
        found = {cell.label: find_trace(cell.configs[0], store, known) for cell in study.cells}
        traces = {label: trace for label, trace in found.items() if trace is not None}
        keys = {cell.label: run_key(cell.configs[0]) for cell in study.cells}
        cells = [{"cell": label, "run": keys[label], **trace.to_dict()} for label, trace in traces.items()]
        section = traces_section(study, traces)
    else:
        measured = measure(study, store, known)
        cells = [figure.to_dict() for figure in measured.values()]
        section = figures_section(study, measured)
    plain = {"study": study.name, "title": study.title, "measure": study.measure, "cells": cells}
    write_text(folder / f"{study.name}.json", json.dumps(plain, indent=None if study.measure in TRACES else 1) + "\n")
    return section


def _chosen(options: ReproduceOptions) -> list[Study]:
    """The chosen studies, without the cells that the filter excludes."""
    if not options.targets:
        raise InputError(f"NAME is missing, allowed are {', '.join(study_names())}, all, and files (.toml)")
    files = [name for name in dict.fromkeys(options.targets) if name.endswith(SUFFIX)]
    named = [name for name in dict.fromkeys(options.targets) if not name.endswith(SUFFIX)]
    studies = [load_study(name, options.seeds) for name in (study_names() if "all" in named else named)]
    studies += [read_study(file, options.seeds) for file in files]
    names = [study.name for study in studies]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: {names.count(name)} studies have this name, allowed is one; rename the file")
    for text in options.only:
        if not any(study.only(text).panels for study in studies):
            raise InputError(f"--only {text!r}: no cell of {', '.join(names)} has it in its label")
    if options.only:
        studies = [study for each in studies if (study := each.only(*options.only)).panels]
    return studies


def _known(options: ReproduceOptions) -> Known:
    """The known figures. Raises InputError if their folder would be overwritten while it is read."""
    if not options.known:
        return Known()
    if Path(options.known).resolve() == Path(options.folder).resolve():
        raise InputError(f"--known is {options.known!r}, allowed is another folder than --folder")
    _log.warning(
        f"note: figures in {options.known} do not say which data they were found on; they are taken as they are"
    )
    return load_known(Path(options.known))


def _with_data(studies: Sequence[Study]) -> list[Study]:
    """The studies without optional panels whose data are missing, which a warning names.

    Raises InputError, with instructions, for other missing data, and if nothing is left.
    """
    problems: dict[str, str] = {}
    configs = (config for study in studies for config in all_configs(study))
    # Only files can be missing: noise and left-out classes are drawn by the runs themselves.
    for config in {(c.data.name, c.data.root, c.data.split): c.replace(_AS_IT_IS) for c in configs}.values():
        if problem := _problem(config):
            problems[config.data.name] = problem
    kept = []
    for study in studies:
        panels = []
        for panel in study.panels:
            missing = [name for cell in panel.cells if (name := cell.configs[0].data.name) in problems]
            if not missing:
                panels.append(panel)
            elif not panel.optional:
                raise InputError(f"{study.name}: {problems[missing[0]]}")
        if panels:
            kept.append(dataclasses.replace(study, panels=tuple(panels)))
    if not kept:
        raise InputError(next(iter(problems.values())))
    for name, problem in problems.items():
        _log.warning(f"left out: {name} ({problem})")
    return kept


def _problem(config: Config) -> str:
    """Why the data of a configuration can't be loaded; empty if they can."""
    try:
        load_data(config)
    except InputError as error:
        return str(error)
    return ""


def _show(studies: Sequence[Study], store: Path, known: Known) -> None:
    """Print the cells, and how many of their runs are finished."""
    table = new_table("", ("study", "cell", "finished", "of", "minutes"), numbers=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for study in studies:
        if study.measure in TRACES:
            for cell in study.cells:
                looked_at = find_trace(cell.configs[0], store, known) is not None
                table.add_row(study.name, plain(cell.label), str(int(looked_at)), "1", "")
        else:
            for label, found in measure(study, store, known).items():
                counts = (str(len(found.values)), str(len(found.cell.configs)), f"{found.seconds / 60:.1f}")
                table.add_row(study.name, plain(label), *counts)
    output().print(table)
