"""The report runs every step, goes on after one that fails or hangs, and writes what it has measured."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gpu_report import SECTION, run, section, write
from gpu_steps import REPOSITORY, Settings, Step, steps
from report_tables import Target, reached, read_tables

PAGE = f"before\n\n<!-- {SECTION}: begin -->\n<!-- {SECTION}: end -->\n\nafter\n"
TABLE = "| | ms a step |\n| --- | --- |\n| cora-gcn-deep | 7.2 (7 to 9) |\n| cora-gat-deep | 1,021 |\n"
FAST, SLOW = Target("cora-gcn-deep", "ms a step", 8.0, at_most=True), Target("cora-gat-deep", "ms a step", 20.0, True)


def python(name: str, code: str, seconds: float = 60.0, targets: tuple[Target, ...] = (), missing: str = "") -> Step:
    return Step(name, [sys.executable, "-c", code], seconds, targets, missing)


def test_tables_and_their_figures_are_read() -> None:
    tables = read_tables(f"some words\n\n{TABLE}\nmore words\n| a | b |\n|---|---|\n| c | 1.5e-07 |\n")
    assert [figures.header for figures in tables] == [["", "ms a step"], ["a", "b"]]
    assert reached(FAST, tables) == 7.2
    assert reached(SLOW, tables) == 1021
    assert reached(Target("c", "b", 0.0, True), tables) == 1.5e-07
    assert reached(Target("cora-gcn", "ms a step", 0.0, True), tables) is None
    assert reached(Target("c", "ms a step", 0.0, True), tables) is None


def test_bounds() -> None:
    assert FAST.holds(8.0)
    assert not FAST.holds(8.1)
    least = Target("a", "b", 3.0, at_most=False)
    assert least.holds(3.0)
    assert not least.holds(2.9)


def test_it_goes_on_and_says_what_failed(tmp_path: Path) -> None:
    page, folder, pid = tmp_path / "page.md", tmp_path / "figures", tmp_path / "pid"
    page.write_text(PAGE)
    child = (
        f"import os, subprocess, time; p = subprocess.Popen(['sleep', '60']); open({str(pid)!r}, 'w').write(str(p.pid))"
    )
    plan = [
        python("A good step", f"print({TABLE!r})", targets=(FAST, SLOW)),
        python("A step that fails", "import sys; print('half'); sys.exit('no such thing')"),
        python("A step that hangs", f"{child}; time.sleep(60)", seconds=3.0, targets=(Target("x", "y", 1.0, True),)),
        python("A step without its parts", "", missing="there is no sampler"),
        python("The last step", "print('30 passed')"),
    ]
    began = time.monotonic()
    outcomes = [(step, run(step)) for step in plan]
    assert time.monotonic() - began < 45
    write(outcomes, "cpu", page, folder)
    assert [outcome.problem for _, outcome in outcomes] == [
        "",
        "failed with exit code 1: no such thing",
        "took more than 3 s",
        "skipped: there is no sampler",
        "",
    ]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    for line in (
        "| cora-gcn-deep: ms a step at most 8 | 7.2 | reached |",
        "| cora-gat-deep: ms a step at most 20 | 1021 | **not reached** |",
        "| x: y at most 1 | not measured |  |",
        "**A step that fails**: failed with exit code 1: no such thing",
        "**A step that hangs**: took more than 3 s",
        "**A step without its parts**: skipped: there is no sampler",
        "30 passed",
    ):
        assert line in text.splitlines()
    written = json.loads((folder / "a-good-step.json").read_text())
    assert written["tables"][0]["rows"][0] == ["cora-gcn-deep", "7.2 (7 to 9)"]
    assert len(list(folder.iterdir())) == len(plan)
    assert not _lives(int(pid.read_text())), "what a step has started ends with it"


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_report_without_targets() -> None:
    step = python("A step", "print(1)")
    text = section([(step, run(step))], "cpu")
    assert "| target |" not in text
    assert text.startswith("No GPU: the CPU in its place, torch ")


def test_every_target_names_a_figure_that_its_script_prints() -> None:
    """The column and, if it is not the name of a preset, the row are words of the script."""
    settings = Settings("cuda", False, Path("store"), sys.executable, sys.executable)
    plan = [step for step in steps(settings) if step.targets]
    assert len(plan) == 4
    for step in plan:
        script = next(Path(word) for word in step.command if word.endswith(".py"))
        for target in step.targets:
            assert target.column in script.read_text()


@pytest.mark.slow
def test_every_step_runs_on_a_cpu(tmp_path: Path) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "figures"
    page.write_text(PAGE)
    command = [sys.executable, "benchmarks/gpu_report.py", "--device", "cpu", "--quick"]
    done = subprocess.run(
        [*command, "--page", str(page), "--out", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(path.read_text()) for path in folder.iterdir()]
    assert len(outcomes) == 10
    problems = {outcome["name"]: outcome["problem"] for outcome in outcomes if outcome["problem"]}
    assert set(problems) <= {"Sampled training beside PyG's recipe"}
    assert sum(len(outcome["tables"]) > 0 for outcome in outcomes) >= 6
    assert "times as fast" in page.read_text()
