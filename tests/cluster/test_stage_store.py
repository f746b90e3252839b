"""Graph stores on their way from the shared disk to a machine's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.stubs import CLUSTER
from ugts_dist.cli import main
from ugts_dist.graphs.store import open_store

pytestmark = pytest.mark.xdist_group("staged store")

SCRIPT = CLUSTER / "stage-store.sh"
PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    main(["prepare", "digits", "--out", str(folder / "digits")])
    return folder


def start(shared: Path, disk: Path, path: str = PROGRAMS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SCRIPT, "digits", shared, disk], env=os.environ | {"PATH": path}, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = process.communicate(timeout=120.0)
    return process.returncode, told


def test_two_at_once_make_one_copy_and_what_was_left_by_a_kill_is_removed(shared: Path, tmp_path: Path) -> None:
    left = tmp_path / ".digits.new"
    left.mkdir()
    (left / "x.npy").write_text("half of it")
    told = [finish(process) for process in [start(shared, tmp_path), start(shared, tmp_path)]]
    assert [code for code, _ in told] == [0, 0], told
    assert sorted("copied and verified" in text for _, text in told) == [False, True]
    assert sorted("is there already" in text for _, text in told) == [False, True]
    assert open_store(tmp_path / "digits").num_nodes == open_store(shared / "digits").num_nodes
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".digits.lock", "digits"]


def test_a_damaged_copy_is_never_taken_for_a_store(shared: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(shared, bad)
    with open(bad / "digits/x.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    code, told = finish(start(bad, tmp_path / "disk"))
    assert code == 2
    assert "x.npy" in told
    assert "other checksums" in told
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == [".digits.lock"]


def test_another_store_of_that_name_is_not_written_over(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "digits", tmp_path / "digits")
    with open(tmp_path / "digits/meta.json", "a") as file:
        file.write("\n")
    code, told = finish(start(shared, tmp_path))
    assert code == 2
    assert "is another store" in told


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    assert finish(start(tmp_path, tmp_path / "disk")) == (
        2,
        f"stage-store: {tmp_path}/digits: is no graph store (meta.json is missing)\n",
    )


def test_a_share_is_copied_once_and_no_other_is_taken_for_it(shared: Path, tmp_path: Path) -> None:
    def staged(*options: str) -> tuple[int, str]:
        command: list[str | Path] = [SCRIPT, *options, "digits", shared, tmp_path]
        environment = os.environ | {"PATH": PROGRAMS}
        return finish(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))

    code, told = staged("--share", "2/3")
    assert code == 0, told
    cut = open_store(tmp_path / "digits", shares=True)
    assert cut.share is not None
    own = slice(cut.share.start, cut.share.stop)
    assert cut.x[own].equal(open_store(shared / "digits").x[own])
    code, told = staged("--share", "2/3")
    assert code == 0
    assert "is there already" in told
    assert "is share 2/3 of" in staged("--share", "1/3")[1]
    assert "is another store" in staged()[1]
    assert staged("--share", "2") == (2, "stage-store: --share is '2', allowed is I/N, such as 2/3\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".digits.lock", "digits"]
