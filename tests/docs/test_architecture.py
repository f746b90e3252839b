"""The architecture page shows the layers that import-linter holds, modules that exist, and few words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
MOST_WORDS = 25
MOST_MODULES = 15


class _Diagram(HTMLParser):
    """Names of the rooms in each layer, from the top."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[list[str]] = []
        self._in_name = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if ("class", "layer") in attrs:
            self.layers.append([])
        self._in_name = tag == "b"

    def handle_data(self, data: str) -> None:
        if self._in_name:
            self.layers[-1].append(data)
            self._in_name = False


def _way() -> list[str]:
    """The modules that a run passes, as the page lists them."""
    return re.findall(r"^\d+\. `([\w/]+\.py)`", PAGE, re.MULTILINE)


def _contract() -> list[list[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def test_the_diagram_has_the_layers_of_the_contract() -> None:
    diagram = _Diagram()
    diagram.feed(PAGE.partition('<div class="layers">')[2].partition("\n## ")[0])
    assert [sorted(layer) for layer in diagram.layers] == [sorted(layer) for layer in _contract()]


def test_every_package_is_in_a_layer() -> None:
    held = {name for layer in _contract() for name in layer}
    packages = {f"ugts_dist.{path.parent.name}" for path in (ROOT / "ugts_dist").glob("*/__init__.py")}
    assert packages | {"tuning"} <= held


def test_the_way_of_a_run_passes_few_modules_that_exist() -> None:
    way = _way()
    assert 10 < len(way) <= MOST_MODULES
    assert not [path for path in way if not (ROOT / path).is_file()]


def test_a_run_comes_to_the_modules_in_the_order_of_the_page(tmp_path: Path) -> None:
    """A profiler notes the modules as their first function is called; class bodies and comprehensions don't count."""
    code = """
import json, sys
from ugts_dist.cli import main
root, reached = sys.argv[1], {}
def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & 1 and code.co_name[0] != "<" and code.co_filename.startswith(root):
        reached.setdefault(code.co_filename[len(root):])
sys.setprofile(note)
main(["train", "--preset", "digits", "--run.epochs", "1", "--run.folder", sys.argv[2]])
sys.setprofile(None)
print(json.dumps(list(reached)))
"""
    args = [sys.executable, "-c", code, f"{ROOT}/", str(tmp_path / "run")]
    done = subprocess.run(args, capture_output=True, text=True, check=True, cwd=ROOT)
    reached = json.loads(done.stdout.splitlines()[-1])
    assert [module for module in reached if module in _way()] == _way()


def test_the_glossary_is_short() -> None:
    words = re.findall(r"^\| (?!word|---)([^|]+) \|", PAGE.partition("## Glossary")[2], re.MULTILINE)
    assert 10 < len(set(words)) == len(words) <= MOST_WORDS
