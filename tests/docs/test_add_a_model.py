"""The page on adding a model works: a copy of the program, changed as the page says, has the model."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/how-to/add-a-model.md"


def _edit(text: str, diff: str) -> str:
    """Replace the lines with `-`, which occur once, by those with `+`."""
    old, new = ("\n".join(line[1:] for line in diff.splitlines() if line[0] == sign) for sign in "-+")
    assert text.count(old) == 1, f"{text.count(old)} times: {old}"
    return text.replace(old, new)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the program with the page's file and edits."""
    for package in ("ugts_dist", "tuning"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(PAGE):
        file = tmp_path / block.title
        if block.language == "python":
            assert not file.exists()
            file.write_text(block.text)
        elif block.language == "diff":
            file.write_text(_edit(file.read_text(), block.text))
    return tmp_path


def test_the_edits_fit_the_program(changed: Path) -> None:
    help_of_fields = (changed / "ugts_dist/config_sections.py").read_text()
    assert '"gcn-root"' in help_of_fields
    compile((changed / "ugts_dist/models/gnn.py").read_text(), "gnn.py", "exec")


@pytest.mark.slow
def test_the_model_is_trained_and_evaluated(changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(changed))
    monkeypatch.chdir(changed)
    (commands,) = (block.text for block in blocks(PAGE) if block.language == "sh")
    printed = ""
    for line in commands.splitlines():
        words = [sys.executable, "-m", "ugts_dist", *line.split()[1:]]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    trained, evaluated = (float(figure) for figure in re.findall(r"^test accuracy (\S+)", printed, re.MULTILINE))
    assert trained > 0.8
    assert abs(trained - evaluated) < 1e-3
