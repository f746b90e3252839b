"""The pages of the documentation, and the blocks of commands and code in them.

A block is marked by a comment on the line above its fence, which says what its test does:

    <!-- test: run -->          runs it, in a quick test; the blocks of a page run one after the other in one folder
    <!-- test: slow -->         runs it, after those before it, in a test that is marked slow
    <!-- test: parse, WHY -->   has its commands parsed by the programs that they call, and does not run them

A `toml` block with a title is a file: it is written where the commands run. `text` and `math` blocks need no mark. An
indented block of commands is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs/how-to"  # tests/docs/test_how_to.py does what these pages say
FENCE = re.compile(r"^( *)```(\w*)(?: title=\"([^\"]+)\")?$")
MARK = re.compile(r"^ *<!-- test: (run|slow|parse), ?(.*?) ?-->$|^ *<!-- test: (run|slow) -->$")
SILENT = ("text", "math")

Kind = Literal["run", "slow", "parse", "unmarked"]


@dataclass(frozen=True)
class Block:
    """One fenced or indented block of a page; `line` is that of its fence."""

    page: Path
    line: int
    language: str
    kind: Kind
    title: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that a reader is sent to."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/RESULTS.md"]
    return sorted([*files, *(ROOT / "docs").rglob("*.md"), *(ROOT / "cluster").glob("*.md")])


def blocks(page: Path) -> list[Block]:
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if fence:
            end = next(k for k in range(at + 1, len(lines)) if lines[k].strip() == "```")
            text = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end])
            yield Block(page, at + 1, fence[2], _kind(lines[at - 1]), fence[3] or "", text + "\n")
            at = end + 1
        elif lines[at].startswith("    ") and at and not lines[at - 1].strip():
            end = next((k for k in range(at, len(lines)) if not lines[k].startswith("    ")), len(lines))
            text = "\n".join(line[4:] for line in lines[at:end])
            yield Block(page, at + 1, "sh", "parse", "", text + "\n")
            at = end
        else:
            at += 1


def _kind(line: str) -> Kind:
    mark = MARK.match(line)
    return (mark[1] or mark[3]) if mark else "unmarked"  # type: ignore[return-value]
