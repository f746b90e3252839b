"""Every command and snippet of the documentation runs, or is parsed by the program that it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.docs.commands import check, commands
from tests.docs.pages import HOW_TO, ROOT, SILENT, Block, blocks, pages
from ugts_dist.cli import main

PAGES = {str(page.relative_to(ROOT)): blocks(page) for page in pages()}
QUICK = [name for name, on_page in PAGES.items() if any(block.kind == "run" for block in on_page)]
SLOW = [name for name, on_page in PAGES.items() if any(block.kind == "slow" for block in on_page)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and nothing of the user's own in the environment."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("UGTS_DATA", "UGTS_STORES"):
        monkeypatch.delenv(name, raising=False)
    return work


def test_every_block_says_how_it_is_tested() -> None:
    shown = [block for name, on_page in PAGES.items() for block in on_page if not (ROOT / name).is_relative_to(HOW_TO)]
    unmarked = [block.place for block in shown if block.kind == "unmarked" and block.language not in SILENT]
    assert not unmarked
    kinds = [block.kind for block in shown if block.language in ("sh", "python")]
    assert kinds.count("run") >= 20
    assert kinds.count("slow") >= 4


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_those_of_their_programs(name: str) -> None:
    """Those that run are parsed as well, so that a page with a mistake is named before anything runs."""
    for block in PAGES[name]:
        if block.language == "sh" and block.kind != "unmarked":
            try:
                check(block.text)
            except (Exception, SystemExit) as error:
                pytest.fail(f"{block.place}: {error}")


@pytest.mark.parametrize("name", QUICK)
def test_quick_blocks_run_one_after_the_other(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    for block in PAGES[name]:
        if block.kind == "run" and block.language == "sh":
            for command in commands(block.text):
                assert command[0] == "ugts", f"{block.place}: a command of another program is slow, or parsed"
                _run_here(command[1:], block)
        elif block.kind == "run":
            _run_snippet(block, names)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_whole_page_runs_in_a_shell(name: str) -> None:
    names: dict[str, Any] = {}
    for block in PAGES[name]:
        if block.kind in ("run", "slow") and block.language == "sh":
            done = subprocess.run(["bash", "-e"], input=block.text, text=True, capture_output=True, timeout=600)
            assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
        elif block.kind in ("run", "slow"):
            _run_snippet(block, names)


def _run_here(args: list[str], block: Block) -> None:
    """In this process: a start of its own takes seconds."""
    try:
        main(args)
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"{block.place}: ugts {' '.join(args)} ended with {stop.code}")


def _run_snippet(block: Block, names: dict[str, Any]) -> None:
    if block.language == "python":
        exec(compile(block.text, block.place, "exec"), names)
    else:
        assert block.title, f"{block.place}: a file needs a title"
        Path(block.title).write_text(block.text)
