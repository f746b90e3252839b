"""What is written in two places is the same in both: checks, Pythons, the version."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

import ugts_dist
from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _yaml(name: str) -> Any:
    return yaml.load((ROOT / name).read_text(), yaml.BaseLoader)


def test_a_commit_has_the_checks_of_make_lint() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    hooks = [hook for repo in _yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == checks
    assert all(hook["language"] == "system" for hook in hooks), "nothing is downloaded"


def test_the_workflow_tests_every_python() -> None:
    jobs = _yaml(".github/workflows/test.yml")["jobs"]
    listed = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if name.startswith("Programming Language")]
    assert jobs["test"]["strategy"]["matrix"]["python"] == listed
    assert "make test" in [step.get("run") for step in jobs["test"]["steps"]]


def test_the_version_is_one() -> None:
    version = PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert ugts_dist.__version__ == version
    assert _yaml("CITATION.cff")["version"] == version
    assert re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version  # type: ignore[index]


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert text.count("![") == 1
