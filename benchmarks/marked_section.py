"""A part of a document that a script writes: the lines between two comments, which it can replace."""

from __future__ import annotations

import re
from pathlib import Path


def replace_section(path: Path, name: str, text: str) -> None:
    """Write `text` between the comments `<!-- name: begin -->` and `<!-- name: end -->` of a document.

    Raises ValueError if the document does not have exactly one such section.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    document = path.read_text(encoding="utf-8")
    section = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    found = len(section.findall(document))
    if found != 1:
        raise ValueError(f"{path}: {found} sections between {begin!r} and {end!r}, allowed is one")
    written = section.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", document)
    path.write_text(written, encoding="utf-8")
