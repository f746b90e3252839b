"""`ugts presets`: every preset in one line under its graph, and the file of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ugts_dist.cli import main
from ugts_dist.config import load_preset, load_toml, preset_names
from ugts_dist.preset_list import PresetsOptions, preset_lines


@pytest.fixture
def groups() -> dict[str, dict[str, str]]:
    """The summary of each preset, by graph and name."""
    by_graph: dict[str, dict[str, str]] = {}
    for line in preset_lines(PresetsOptions()):
        if line.startswith("  "):
            name, _, summary = line.strip().partition(" ")
            by_graph[list(by_graph)[-1]][name] = summary.strip()
        else:
            assert line not in by_graph
            by_graph[line] = {}
    return by_graph


def test_every_preset_is_listed_once_under_its_graph(groups: dict[str, dict[str, str]]) -> None:
    assert sorted(name for group in groups.values() for name in group) == preset_names()
    for graph, group in groups.items():
        assert {load_preset(name).data.name for name in group} == {graph}


def test_every_preset_has_a_summary_of_a_line(groups: dict[str, dict[str, str]]) -> None:
    for graph, group in groups.items():
        for name, summary in group.items():
            assert 10 < len(summary) <= 100, name
            assert not summary.lower().startswith(f"{graph}:"), name


def test_a_summary_is_the_first_sentence(groups: dict[str, dict[str, str]]) -> None:
    assert groups["cora"]["cora-gcn-deep"] == "tickets of networks of 16 layers and more"
    paper = "Table 4 of Huang et al. (2022): weights as they fall, Adam at 0.01, 400 epochs, ramp over the first half"
    assert groups["cora"]["cora-gcn-paper"] == f"{paper.rpartition(' first')[0]} ..."  # 100 characters
    assert groups["digits"]["digits"].startswith("Handwritten digits")


@pytest.mark.parametrize("name", ["digits", "cora-gcn-deep", "molhiv-gcn"])
def test_a_printed_preset_is_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    main(["presets", name])
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text().startswith("# ")
    assert load_toml(file) == load_preset(name)


def test_the_list_needs_nothing_heavy() -> None:
    code = """
import sys
from ugts_dist.cli import main
main(["presets"])
assert not {"torch", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("amazon-computers\n")
