"""Files that a report may replace: only those that a report wrote."""

from __future__ import annotations

import os
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.report.html import is_report

PAGE = "index.html"  # of a folder that is one page
MARK = "<!-- ugts report -->"  # the first line of a page in Markdown


def check_ours(path: Path) -> None:
    """Raise InputError if `path` exists and is not a report, or if its folder does not exist."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: {path.parent} is no folder; allowed is a file in one that exists")
    if not os.path.lexists(path):
        return
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: exists and is no regular file; allowed is a new file, or an earlier report")
        ours = is_ours(path)
    except OSError as error:
        raise InputError(f"{path}: exists and can't be read ({error.strerror})") from None
    if not ours:
        raise InputError(f"{path}: exists and is no report; allowed is a new file, or an earlier report")


def is_ours(path: Path) -> bool:
    """Whether it is a file that a report wrote. Raises OSError for a file that can't be read."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        start = file.read(1000)
    return is_report(start) or start.startswith(MARK)
