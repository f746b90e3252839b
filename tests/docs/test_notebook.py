"""The notebook runs from its first cell to its last, and prints what is stored in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "docs/notebooks/first-ticket.ipynb"
NUMBER = re.compile(r"\d[\d.,]*")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the program that runs notebooks; the kernel is another process
def test_the_notebook_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(run, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    assert _pictures(run) == _pictures(stored) == 2
    assert [NUMBER.sub("#", line) for line in _printed(run)] == [NUMBER.sub("#", line) for line in _printed(stored)]
    (accuracy,) = (float(line.split()[2]) for line in _printed(run) if line.startswith("test accuracy"))
    assert accuracy > 0.95


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def _printed(notebook: Any) -> list[str]:
    texts = [output.text for output in _outputs(notebook) if output.get("name") == "stdout"]
    return [line for text in texts for line in text.splitlines()]


def _pictures(notebook: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in _outputs(notebook))
