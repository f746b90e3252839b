"""A marked section is replaced, and nothing else of the document."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked_section import replace_section


def test_only_the_section_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- it: begin -->\nold \\1\n<!-- it: end -->\n\nafter\n")
    for text in ("first", "with \\1 and\n\ntwo lines\n"):
        replace_section(page, "it", text)
        expected = f"before\n\n<!-- it: begin -->\n\n{text.strip()}\n\n<!-- it: end -->\n\nafter\n"
        assert page.read_text() == expected


@pytest.mark.parametrize("document", ["nothing", "<!-- it: begin --> <!-- it: end -->\n" * 2])
def test_a_document_without_one_section_is_refused(document: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(document)
    with pytest.raises(ValueError, match="allowed is one"):
        replace_section(page, "it", "text")
    assert page.read_text() == document
