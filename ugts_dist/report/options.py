"""The options of `ugts report`. Nothing heavy is imported here, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ReportOptions:
    """One HTML page about a run or a search; it holds its figures and loads nothing.

    Of a reproduction, whose page `ugts reproduce` writes, it says where that is.
    """

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Folder of a run, finished or not, of a search, or of a reproduction."""
    out: str = ""
    """The file; an earlier report there is replaced, and nothing else. Empty: report.html in the folder."""
