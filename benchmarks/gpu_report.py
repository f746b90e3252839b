"""Every measurement on a GPU in one command, each within a time limit, and its section in benchmarks/RESULTS.md.

    make gpu-report
    python benchmarks/gpu_report.py --store STORE --peer-python PYTHON

A step that fails, or takes too long, is named in the report, and the next one begins. Figures are written to
benchmarks/results/gpu/ after each step. With `--device cpu --quick` everything runs on tiny settings, which shows that
it works; then `--page` and `--out` say where to write.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from gpu_steps import REPOSITORY, Settings, Step, steps
from marked_section import replace_section
from report_tables import Figures, Target, reached, read_tables
from side_by_side import table

SECTION = "gpu-report"
RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
FIGURES = REPOSITORY / "benchmarks" / "results" / "gpu"
_LAST = 300  # characters of what a step that failed said last


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        problem: why there are no figures; empty if it ended well.
        output: what it printed.
    """

    name: str
    command: str
    seconds: float
    problem: str
    output: str
    tables: list[Figures] = field(default_factory=list)


def main() -> None:
    options = _arguments()
    outcomes: list[tuple[Step, Outcome]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "products-like"
        settings = Settings(options.device, options.quick, store, options.peer_python, sys.executable)
        for step in steps(settings):
            print(f"{step.name}: at most {step.seconds:g} s", file=sys.stderr)
            outcome = run(step)
            print(f"{step.name}: {outcome.problem or f'{outcome.seconds:.0f} s'}", file=sys.stderr)
            outcomes.append((step, outcome))
            write(outcomes, options.device, options.page, options.out)
    failed = [outcome.name for _, outcome in outcomes if outcome.problem and not outcome.problem.startswith("skipped")]
    if failed:
        sys.exit(f"{len(failed)} of {len(outcomes)} steps failed: {', '.join(failed)}")


def run(step: Step) -> Outcome:
    """Run a step, with all processes that it starts, for as long as it may take."""
    command = " ".join(_shown(word) for word in step.command)
    if step.missing:
        return Outcome(step.name, command, 0.0, f"skipped: {step.missing}", "")
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            step.command,
            cwd=REPOSITORY,
            env=_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(step.seconds)
            problem = f"failed with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            problem = f"took more than {step.seconds:g} s"
        finally:
            _end(process)
        said.seek(0)
        output = said.read()
    if problem and output.strip():
        problem += f": {output.strip().splitlines()[-1][-_LAST:]}"
    return Outcome(step.name, command, time.perf_counter() - began, problem, output, read_tables(output))


def _shown(word: str) -> str:
    """A word of a command without the places of this machine: the last part of an absolute path outside the project."""
    path = Path(word)
    if path.is_relative_to(REPOSITORY):
        return str(path.relative_to(REPOSITORY))
    return path.name if path.is_absolute() else word


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step's own session: ranks, too, that outlive their launcher."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write(outcomes: Sequence[tuple[Step, Outcome]], device: str, page: Path, folder: Path) -> None:
    """The section of the page, and a file for each step."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, outcome in outcomes:
        name = step.name.lower().replace(" ", "-").replace(",", "").replace("'", "")
        (folder / f"{name}.json").write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    replace_section(page, SECTION, section(outcomes, device))


def section(outcomes: Sequence[tuple[Step, Outcome]], device: str) -> str:
    """What was measured, in Markdown."""
    where = torch.cuda.get_device_name() if device == "cuda" else "No GPU: the CPU in its place"
    parts = [f"{where}, torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} CPU cores."]
    targets = [(target, reached(target, outcome.tables)) for step, outcome in outcomes for target in step.targets]
    if targets:
        parts.append(table(["target", "measured", ""], [_target_row(*each) for each in targets]))
    for _, outcome in outcomes:
        parts.append(f"**{outcome.name}**" + (f": {outcome.problem}" if outcome.problem else ""))
        parts.append(f"`{outcome.command}`")
        if outcome.tables:
            parts += [table(each.header, each.rows) for each in outcome.tables]
        elif not outcome.problem and outcome.output.strip():
            parts.append(outcome.output.strip().splitlines()[-1])
    return "\n\n".join(parts)


def _target_row(target: Target, value: float | None) -> list[str]:
    if value is None:
        return [str(target), "not measured", ""]
    return [str(target), f"{value:g}", "reached" if target.holds(value) else "**not reached**"]


def _environment() -> dict[str, str]:
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "THP_MEM_ALLOC_ENABLE": "1"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that every step runs")
    parser.add_argument("--store", type=Path, help="of products-like; without: it is made first")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter for PyG's recipe")
    parser.add_argument("--page", type=Path, help="document with the section, by default benchmarks/RESULTS.md")
    parser.add_argument("--out", type=Path, help="folder for figures, by default benchmarks/results/gpu")
    options = parser.parse_args()
    if options.device == "cpu" and not (options.page and options.out):
        parser.error("--device cpu is no result of a GPU: --page and --out say where it goes")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is cuda, but torch finds no GPU here")
    options.page, options.out = options.page or RESULTS, options.out or FIGURES
    return options


if __name__ == "__main__":
    main()
