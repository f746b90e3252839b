"""`ugts report`: finds out what the folders are, makes their page, and writes the file."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from ugts_dist.atomic import write_text
from ugts_dist.console import output
from ugts_dist.errors import InputError
from ugts_dist.report.comparison import comparison_page
from ugts_dist.report.html import render
from ugts_dist.report.options import ReportOptions
from ugts_dist.report.owned import PAGE, check_ours, is_ours
from ugts_dist.report.page import Page
from ugts_dist.report.run import run_page
from ugts_dist.report.search import search_page
from ugts_dist.report.search_files import SPACE
from ugts_dist.report.show import show

RUN = "config.toml"  # the file that makes a folder that of a run
COMPARISON = "comparison.html"


def write_report(options: ReportOptions) -> Path:
    """Write the page, unless `ugts reproduce` has already written it. Returns its file.

    The page of several runs is also printed. Raises InputError for every mistake, before anything is written.
    """
    if not options.folders:
        raise InputError("FOLDER is missing, allowed is that of a run, a search or a reproduction, or several of runs")
    folders = list({Path(name).resolve(): Path(name) for name in options.folders}.values())
    if len(folders) > 1:
        return _write_comparison(folders, Path(options.out or COMPARISON))
    (folder,) = folders
    out = Path(options.out) if options.out else folder / "report.html"
    if not (folder / SPACE).exists() and not (folder / RUN).exists() and is_ours(folder / PAGE):
        if options.out:
            raise InputError(f"--out is {out}, but the page of a reproduction is there already: {folder / PAGE}")
        return folder / PAGE
    page = page_of_folder(folder)
    _write(out, page, folder)
    return out


def _write_comparison(folders: Sequence[Path], out: Path) -> Path:
    for folder in folders:
        if not (folder / RUN).is_file():
            raise InputError(f"{folder}: not the folder of a run, it has no {RUN}; only runs are compared")
    page = comparison_page(folders)
    _write(out, page, folders[0])
    show(page, output())
    return out


def _write(out: Path, page: Page, folder: Path) -> None:
    """Write a page, whose figures with a path are in `folder`."""
    check_ours(out)
    try:
        write_text(out, render(page, folder))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{out}: can't be written ({error.strerror}); allowed is another file with --out") from None


def page_of_folder(folder: Path) -> Page:
    """The page of a run or a search, according to the folder's files. Raises InputError for other folders."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; allowed is that of a run, a search or a reproduction")
    if (folder / SPACE).exists():
        return search_page(folder)
    if (folder / RUN).exists():
        return run_page(folder)
    raise InputError(
        f"{folder}: neither a run ({RUN}) nor a search ({SPACE}) nor the page of a reproduction ({PAGE}) is in it; "
        f"the page is written by `ugts reproduce NAME --draw --folder {folder}`"
    )
