"""`ugts ticket show | diff | export`."""

from __future__ import annotations

import json
from pathlib import Path

from ugts_dist.checkpointing.network_files import TICKET, network_file
from ugts_dist.supermask import Ticket
from ugts_dist.terminal import say
from ugts_dist.tickets.options import DiffOptions, ExportOptions, ShowOptions


def run(options: ShowOptions | DiffOptions | ExportOptions) -> None:
    """Run a subcommand and print its result. Raises InputError for every mistake in the options."""
    match options:
        case ShowOptions():
            _show(options)
        case DiffOptions():
            _diff(options)
        case ExportOptions():
            _export(options)


def _show(options: ShowOptions) -> None:
    from ugts_dist.tickets.summary import summarise
    from ugts_dist.tickets.tables import show_summary

    path = _file(options.path)
    summary = summarise(Ticket.load(path), path)
    if options.json:
        print(json.dumps(summary.to_dict(), indent=1))
    else:
        show_summary(summary)


def _diff(options: DiffOptions) -> None:
    from ugts_dist.tickets.compare import compare
    from ugts_dist.tickets.tables import show_comparison

    paths = (_file(options.first), _file(options.second))
    comparison = compare(Ticket.load(paths[0]), Ticket.load(paths[1]), paths)
    if options.json:
        print(json.dumps(comparison.to_dict(), indent=1))
    else:
        show_comparison(comparison)


def _export(options: ExportOptions) -> None:
    from ugts_dist.tickets.export import export

    exported = export(_file(options.path), options.format, Path(options.out))
    say(f"{options.out}: {exported.size:,} bytes")
    for line in exported.lines:
        say(line)


def _file(path: str) -> Path:
    return network_file(Path(path), TICKET)
