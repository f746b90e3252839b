"""The README's Python runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_snippets_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert any("sparsify(" in block for block in blocks)
    assert any("TicketBank(" in block for block in blocks)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, Python block {number}", "exec"), found)

    x, edge_index = found["x"], found["edge_index"]
    found["mask"].step(0.9)
    model = found["model"].eval()
    assert found["accuracy"] > 0.8
    assert torch.equal(found["plain"](x, edge_index), model(x, edge_index))
    assert torch.equal(found["logits"], found["plain"](x, edge_index))
    assert (tmp_path / "my.ticket").stat().st_size < 5000
