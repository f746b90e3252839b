"""The error lines on the troubleshooting page are lines that the program prints."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/troubleshooting.md"
SHORTEST = 9  # consecutive constant letters of a message; fewer would match anything
OF_SCRIPTS = ("install: ",)


def _messages() -> Iterator[re.Pattern[str]]:
    """A pattern for each string of the program; `.*` stands for inserted values."""
    yield re.compile(".*: " + re.escape(os.strerror(errno.ENOSPC)))  # the system's own words
    for path in sorted([*(ROOT / "ugts_dist").rglob("*.py"), *(ROOT / "tuning").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr | ast.Constant):
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if max((len(part) for part in fixed if isinstance(part, str)), default=0) >= SHORTEST:
                yield re.compile("".join(re.escape(part) if isinstance(part, str) else ".*" for part in fixed))


def _unknown(lines: list[str]) -> list[str]:
    messages = list(_messages())
    return [line for line in lines if not any(message.fullmatch(line) for message in messages)]


def test_every_line_is_one_of_the_program() -> None:
    shown = [line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()]
    assert len(shown) > 25
    assert not _unknown([line for line in shown if not line.startswith(OF_SCRIPTS)])


def test_lines_of_scripts_are_theirs() -> None:
    script = (ROOT / "scripts/install.sh").read_text()
    shown = [line for block in blocks(PAGE) for line in block.text.splitlines() if line.startswith(OF_SCRIPTS)]
    assert shown
    for line in shown:
        assert line.split("found, ")[1] in script


def test_a_line_that_the_program_never_prints_is_found() -> None:
    made_up = "run.folder is runs, which is there; permitted is a fresh folder"
    changed = "rank 1 on node2 has died, or did not answer within 600 s"
    assert _unknown([made_up, changed]) == [made_up, changed]
