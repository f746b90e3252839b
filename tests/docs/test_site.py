"""The site builds without a warning, and asks nothing of the network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

ASKED = re.compile(
    r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\"' >]+", re.IGNORECASE
)


@pytest.mark.slow
def test_the_site_builds_strictly_and_is_whole_in_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    texts = {page: page.read_text() for page in pages}
    assert not [match[0] for text in texts.values() for match in ASKED.finditer(text)]
    assert "<math" in texts[tmp_path / "method.html"]
    assert "data:image/png;base64," in texts[tmp_path / "notebooks/first-ticket.html"]
    for name in ("sparsify", "Ticket.load", "TicketBank", "linear_schedule"):
        assert 'id="ugts_dist.' in texts[tmp_path / "api.html"]
        assert f'{name}"' in texts[tmp_path / "api.html"]
