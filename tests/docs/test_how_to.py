"""The instructions of the how-to pages work in a copy of the program: files, changes, tests and commands.

The comment on the line above a block says what to do with it, and its title names the file:

    <!-- how-to: file -->      write it
    <!-- how-to: change -->    a diff without line numbers: context, - for removed lines, + for new ones
    <!-- how-to: run -->       run it
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import HOW_TO, ROOT, Block, blocks

PAGES = ("add-a-dataset", "add-a-masking-method", "add-an-analysis")
MARK = re.compile(r"<!-- how-to: (file|change|run) -->")
PARTS = ("ugts_dist", "tuning", "tests", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the program and its tests."""
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_a_page_carries_its_reader(page: str, checkout: Path) -> None:
    path = HOW_TO / f"{page}.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    kinds = [_follow(block, lines[block.line - 2], checkout) for block in blocks(path)]
    assert {"file", "change", "run"} <= set(kinds)


def _follow(block: Block, above: str, checkout: Path) -> str:
    mark = MARK.fullmatch(above)
    assert mark, f"{block.place}: the block does not say what to do with it"
    path = checkout / block.title
    if mark[1] == "file":
        assert not path.exists(), f"{block.place}: {block.title} is there already"
        path.write_text(block.text, encoding="utf-8")
    elif mark[1] == "change":
        _change(block, path)
    else:
        _run(block, checkout)
    return mark[1]


def _change(block: Block, path: Path) -> None:
    lines = block.text.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{block.place}: {path.name} has these lines {text.count(before)} times"
    path.write_text(text.replace(before, after), encoding="utf-8")


def _run(block: Block, checkout: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        ["bash", "-e"],
        input=block.text,
        text=True,
        capture_output=True,
        cwd=checkout,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
