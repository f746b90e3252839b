"""A built wheel works outside a checkout: it has the files that the program reads, and commands that start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import ugts_dist

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ugts_dist", "tuning")

pytestmark = pytest.mark.slow


def clean_environment() -> dict[str, str]:
    """The variables of this process without those that lead to the checkout or to data."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UGTS_"))}


def pip(*args: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *args], env=clean_environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, so that building leaves nothing in the checkout."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", copy, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment with the wheel; it has the packages of this one, no checkout.

    A path of a .pth file is searched for packages, but .pth files in it, as of an editable installation, are not read.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    (site,) = environment.glob("lib/python*/site-packages")
    pip("--python", environment / "bin/python", "install", "--no-deps", "--no-index", wheel)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def run(program: Path, folder: Path, *command: str) -> str:
    """What a program of the environment prints, started in an empty folder without PYTHONPATH."""
    environment = clean_environment() | {"HOME": str(folder.parent), "PATH": f"{program}:/usr/bin:/bin"}
    done = subprocess.run(
        [program / command[0], *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    expected = {str(path.relative_to(ROOT)) for path in files if path.parent.name != "__pycache__"}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_it_imports_the_installed_package(program: Path, folder: Path) -> None:
    code = "import ugts_dist, tuning; print(ugts_dist.__file__, tuning.__file__)"
    for path in run(program, folder, "python", "-c", code).split():
        assert Path(path).is_relative_to(program.parent)


def test_commands_start(program: Path, folder: Path) -> None:
    assert run(program, folder, "ugts", "--version").startswith(f"ugts_dist {ugts_dist.__version__}, torch ")
    assert "--batch.norm" in run(program, folder, "ugts", "train", "--help-all")
    assert "--objective" in run(program, folder, "ugts", "tune", "--help")
    assert "  cora-gcn-dense " in run(program, folder, "ugts", "presets")
    assert "Cora, GAT / UGTs / 0.9" in run(program, folder, "ugts", "reproduce", "table5", "--list")
    assert not list(folder.iterdir())


def test_a_preset_is_trained_on_two_ranks_and_evaluated(program: Path, folder: Path) -> None:
    train = ("-m", "ugts_dist", "train", "--preset", "digits", "--run.epochs", "4", "--run.folder", "run")
    run(program, folder, "ugts-launch", "--standalone", "--nproc_per_node=2", *train)
    assert "test accuracy" in run(program, folder, "ugts", "evaluate", "run")
    assert run(program, folder, "ugts", "runs", ".").splitlines()[1].split()[:2] == ["run", "digits"]


def test_studies_and_published_figures_are_read(program: Path, folder: Path) -> None:
    code = """
from ugts_dist.experiments.study import load_study, study_names
for name in study_names():
    print(name, sum(bool(row.published) for panel in load_study(name).panels for row in panel.rows))
"""
    published = dict(line.split() for line in run(program, folder, "python", "-c", code).splitlines())
    assert len(published) == len(list((ROOT / "ugts_dist/experiments/studies").glob("*.toml")))
    assert int(published["table5"]) > 0


def test_every_search_space_is_read(program: Path, folder: Path) -> None:
    code = "from tuning.space import load_space, space_names; print(*[load_space(name).name for name in space_names()])"
    names = run(program, folder, "python", "-c", code).split()
    assert sorted(names) == sorted(path.stem for path in (ROOT / "tuning/presets").glob("*.toml"))
