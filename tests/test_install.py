"""Which Pythons and which build of torch the installation uses; pip and the environment's Python are stubs."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.installing import SCRIPT, environment

ROOT = SCRIPT.parent.parent


@pytest.mark.parametrize(
    ("wanted", "installed", "index", "gpu", "taken"),
    [
        ("auto", "", "cuda cpu", False, "cpu"),
        ("auto", "", "cuda cpu", True, "cuda"),
        ("auto", "", "cuda", False, "cuda"),
        ("auto", "cuda", "cuda cpu", False, "cuda"),  # the installed build stays
        ("auto", "cpu", "cuda cpu", True, "cpu"),
        ("cuda", "", "cuda cpu", False, "cuda"),
        ("cuda", "cpu", "cuda cpu", False, "cuda"),
        ("cpu", "", "cuda cpu", True, "cpu"),
        ("cpu", "cuda", "cuda cpu", True, "cpu"),
    ],
)
def test_which_build_of_torch_is_taken(
    tmp_path: Path, wanted: str, installed: str, index: str, gpu: bool, taken: str
) -> None:
    made = environment(tmp_path, installed, index, gpu)
    done = made.install(TORCH=wanted)
    assert done.returncode == 0, done.stderr
    assert made.torch == taken
    assert "--editable .[dev]" in (tmp_path / "calls").read_text().splitlines()[-1]
    assert ("make install TORCH=cuda" in done.stdout) == (wanted == "auto" and not installed and taken == "cpu")


@pytest.mark.parametrize(
    ("wanted", "index", "told"),
    [
        ("cpu", "cuda", "TORCH is cpu, but the package index has no torch=="),
        ("cuda", "cpu", "TORCH is cuda, but the index's default build of torch has no CUDA"),
        ("gpu", "cuda", "TORCH is 'gpu', allowed are auto, cpu and cuda"),
    ],
)
def test_a_build_that_is_not_to_be_had_is_told_in_one_line(tmp_path: Path, wanted: str, index: str, told: str) -> None:
    done = environment(tmp_path, "", index).install(TORCH=wanted)
    assert done.returncode == 2
    assert done.stderr.startswith(f"install: {told}")
    assert done.stderr.count("\n") == 1


def test_an_older_python_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.1"\nexit 1\n')
    python.chmod(0o755)
    done = environment(tmp_path, "", "cpu").install(PYTHON=str(python))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("install: Python 3.10.1 found, Python 3.11 to 3.14 is needed")


def test_everything_that_names_the_pythons_names_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    least, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["project"]["requires-python"]).groups()  # type: ignore[union-attr]
    minors = range(int(least), int(beyond))
    script, readme = SCRIPT.read_text(), (ROOT / "README.md").read_text()
    assert f"(3, {minors[0]}) <= sys.version_info[:2] <= (3, {minors[-1]})" in script
    for text in (script, readme):
        assert f"Python 3.{minors[0]} to 3.{minors[-1]}" in text
    listed = [name for name in project["project"]["classifiers"] if name.startswith("Programming Language")]
    assert listed == [f"Programming Language :: Python :: 3.{minor}" for minor in minors]
    assert project["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"
    assert project["tool"]["mypy"]["python_version"] == f"3.{minors[0]}"


def test_another_choice_of_torch_installs_again(tmp_path: Path) -> None:
    """Each choice has its own stamp; a dry run of make installs nothing."""
    (tmp_path / "stamps").mkdir()

    def would_install(torch: str) -> bool:
        given = [f"TORCH={torch}", f"VENV={tmp_path}/stamps"]
        done = subprocess.run(["make", "--question", "install", *given], cwd=ROOT, env={"PATH": os.environ["PATH"]})
        return done.returncode == 1

    assert would_install("cpu")
    (tmp_path / "stamps/installed-torch-cpu").touch()
    assert not would_install("cpu")
    assert would_install("cuda")
