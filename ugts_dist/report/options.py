"""The options of `ugts report`. This module imports nothing heavy, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ReportOptions:
    """One HTML page about a run or a search. It contains its figures and loads nothing.

    For a reproduction, whose page `ugts reproduce` writes, the command says where it is.
    """

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Folder of a run, finished or not, of a search, or of a reproduction."""
    out: str = ""
    """The file. An earlier report is replaced, but nothing else. Empty: report.html in the folder."""
