"""Links and paths in the documentation lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, pages

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE = re.compile(r"`([\w./-]+)`")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
TOP = ("benchmarks", "cluster", "docs", "scripts", "tests", "tuning", "ugts_dist")
ALL = [*pages(), ROOT / "CHANGELOG.md", ROOT / "benchmarks/reproduction/README.md"]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in HEADING.findall(text)}


@pytest.mark.parametrize("page", ALL, ids=_name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    dead = []
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        exists = to.exists() and (not anchor or to.suffix == ".ipynb" or anchor in _anchors(to))
        if "://" in target or not exists:
            dead.append(target)
    assert not dead, "a link to a file or heading that is not there, or out into the network"


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_paths_that_are_named_exist(page: Path) -> None:
    named = [path for path in CODE.findall(page.read_text()) if path.partition("/")[0] in TOP and "/" in path]
    assert not [path for path in named if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)

    def listed(entries: list[Any]) -> list[str]:
        values = [value for entry in entries for value in entry.values()]
        return [page for value in values for page in (listed(value) if isinstance(value, list) else [value])]

    linked = listed(config["nav"])
    assert len(linked) == len(set(linked))
    folders, endings = (ROOT / "docs", ROOT), (".md", ".ipynb")
    paths = {page: [(folder / page).with_suffix(ending) for folder in folders for ending in endings] for page in linked}
    assert not [page for page, where in paths.items() if not any(path.is_file() for path in where)]
    docs = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".ipynb")]
    clusters = [str(path.relative_to(ROOT)) for path in (ROOT / "cluster").glob("*.md")]
    assert {str(path.with_suffix(".md")) for path in docs} | set(clusters) <= set(linked)
