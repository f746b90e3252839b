"""The options of `ugts report` and `ugts runs`. This module imports nothing heavy: their help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ReportOptions:
    """One HTML page about a run or a search, or one that compares several runs. It contains its figures and loads
    nothing.

    Several runs are also compared in the terminal: results, settings that differ, and which is best by validation. For
    a reproduction, whose page `ugts reproduce` writes, the command says where it is.
    """

    folders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")] = ()
    """Folder of a run, finished or not, of a search, or of a reproduction; or folders of several runs."""
    out: str = ""
    """The file. An earlier report is replaced, but nothing else. Empty: report.html in the folder; for several runs
    comparison.html here."""


Column = Literal["folder", "data", "arch", "method", "sparsity", "valid", "test", "bytes", "epochs", "seconds"]


@dataclass(frozen=True)
class RunsOptions:
    """List runs, finished and unfinished: data, network, method, sparsity, metrics, bytes, epochs and seconds.

    Those of an unfinished run are of its last measured epoch, and its epochs are shown as 12/400. A search is one line:
    its trials that are over, and the best validation metric of a ticket and of a dense network.
    """

    folders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER ...]")] = ()
    """Folders of runs and searches, or folders with them at any depth, such as that of a reproduction. The trials of a
    search are listed if its own folder is named. Empty: runs and searches."""
    sort: Column = "folder"
    """The field to sort by. The highest sparsity and the best validation and test metric come first, otherwise the
    lowest value. Unknown values come last."""
    json: bool = False
    """Print JSON instead of tables: a list of runs and searches, with the name of the metric and the state of each."""
