"""Runs whose data are named by a relative path, and runs and stores that are moved."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from tests.trials.case import case, ugts
from tests.trials.small import QUICK, store, webkb


def resumed_elsewhere(folder: Path, first: Sequence[str], *then: str) -> str:
    """A run that begins in the folder `here`, is cut off, and resumes from the folder `there`."""
    first_folder, other_folder = folder / "here", folder / "there"
    other_folder.mkdir()
    with contextlib.chdir(first_folder):
        begun = ugts("train", *first, *QUICK, "--run.folder", "run")
        assert begun.code == 0, begun.told
        Path("run/result.json").unlink()
    with contextlib.chdir(other_folder):
        return ugts("train", "../here/run", *then).told


@case(r"exit 0: ugts: ../here/run resumes at epoch 2")
def relative_store(folder: Path) -> str:
    """A run on a store that was given by a relative path goes on in another folder."""
    store(folder / "here/data")
    return resumed_elsewhere(folder, ("--data.name", "./data"))


@case(r"exit 0: ugts: ../here/run resumes at epoch 2")
def store_in_the_working_directory(folder: Path) -> str:
    """A run on a store in the working directory, given by its name alone, goes on in another folder."""
    store(folder / "here/data")
    return resumed_elsewhere(folder, ("--data.name", "data"))


@case(r"exit 0: ugts: ../here/run resumes at epoch 2")
def relative_folder_of_stores(folder: Path) -> str:
    """A run on a store in a relative UGTS_STORES goes on in another folder."""
    store(folder / "here/stores/data")
    with mock.patch.dict(os.environ, {"UGTS_STORES": "stores"}):
        return resumed_elsewhere(folder, ("--data.name", "data"))


@case(r"exit 0: ugts: ../here/run resumes at epoch 2")
def relative_root(folder: Path) -> str:
    """A run on raw files in a relative folder goes on in another folder."""
    webkb(folder / "here/raw/webkb/texas/raw")
    return resumed_elsewhere(folder, ("--data.name", "texas", "--data.root", "raw"))


def moved_store(folder: Path, *then: str) -> str:
    """A run whose store has been moved is to go on."""
    data = store(folder / "here/data")
    with contextlib.chdir(folder / "here"):
        begun = ugts("train", "--data.name", "./data", *QUICK, "--run.folder", "run")
        assert begun.code == 0, begun.told
        Path("run/result.json").unlink()
    shutil.move(data, folder / "elsewhere")
    shutil.move(folder / "here", folder / "moved")
    return ugts("train", folder / "moved/run", *(word.format(folder) for word in then)).told


@case(r"exit 2: ugts: data.name: \S+/here/data is no graph store .*; if it has been moved, say .* --data.name of train")
def run_and_store_moved(folder: Path) -> str:
    """A run and its store have been moved, and the run goes on."""
    return moved_store(folder)


@case(r"exit 0: ugts: \S+/moved/run resumes at epoch 2")
def moved_store_that_is_named(folder: Path) -> str:
    """The same, and the place of the store is told."""
    return moved_store(folder, "--data.name", "{}/elsewhere")
