"""The steps of `gpu_report.py`: what is run on a GPU, for how long at most, and what is aimed at."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from report_tables import Target

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Where and on what the steps run.

    Attributes:
        quick: tiny settings on embedded and planted graphs, which measure nothing.
        store: of products-like; it is made if it does not exist.
        peer_python: interpreter for PyG's recipe.
        python: interpreter for everything else.
    """

    device: str
    quick: bool
    store: Path
    peer_python: str
    python: str


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        seconds: the most that it may take.
        targets: for figures in the tables that it prints.
        missing: why it can't run here; empty if it can.
    """

    name: str
    command: Sequence[str]
    seconds: float
    targets: Sequence[Target] = ()
    missing: str = ""


def steps(settings: Settings) -> list[Step]:
    """All steps, in order: what works, what it computes, then how fast."""
    store = str(settings.store)
    plan = [
        _module(settings, "What works here", 300, ["ugts_dist", "doctor"], quick=["--quick"]),
        _module(
            settings,
            "Tests that need a GPU",
            900,
            ["pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"],
            full=["tests"],
            quick=["--collect-only", "tests/tasks"],
        ),
        _script(
            settings,
            "A full-batch step",
            300,
            ["training_step.py"],
            quick=["digits", "--steps", "2"],
            targets=[_at_most("cora-gcn-deep", "ms a step", 8), _at_most("cora-gat-deep", "ms a step", 20)],
        ),
        _script(
            settings,
            "A full-batch epoch beside the paper's loop",
            600,
            ["full_batch_epoch.py"],
            full=["--threads", "4"],
            quick=["--data", "digits", "--epochs", "3", "--rounds", "1"],
            targets=[_at_least("cora-gcn-paper", _FASTER, 3), _at_least("cora-gcn", _FASTER, 3)],
        ),
        _script(
            settings,
            "Sampled training beside PyG's recipe",
            900,
            ["sampled_training.py", store, "--ranks", "1", "--peer-python", settings.peer_python],
            full=["--peer-workers", "4", "--steps", "30"],
            quick=["--batch", "64", "--rounds", "1", "--steps", "1", *_SMALL],
            targets=[_at_least("ours, UGTs 0.5", _FASTER, 5)],
            missing=_no_sampler(settings.peer_python),
        ),
        _script(
            settings,
            "A sampled epoch",
            600,
            ["large_graph.py", store],
            full=["--epochs", "4", "--batch", "1024"],
            quick=["--batch", "64", *_SMALL],
            targets=[_at_most("the fastest epoch, s", "measured", 1)],
        ),
        _script(settings, "Numerics beside the CPU", 300, ["device_numerics.py"], quick=["--archs", "gcn"]),
        _script(
            settings,
            "Accuracy beside the CPU",
            600,
            ["device_accuracy.py"],
            quick=["digits", "--seeds", "0", "--epochs", "4"],
        ),
        _script(settings, "Peak memory", 300, ["peak_memory.py"], quick=["digits"]),
    ]
    if not settings.store.exists():
        made = ["ugts_dist", "prepare", "products-like", "--out", store]
        plan.insert(4, _module(settings, "A planted graph", 600, made, quick=["--scale", "0.002"]))
    return plan


_FASTER = "times as fast"
_SMALL = ("--width", "16", "--fan-out", "3", "2", "2")


def _script(
    settings: Settings,
    name: str,
    seconds: float,
    words: Sequence[str],
    full: Sequence[str] = (),
    quick: Sequence[str] = (),
    targets: Sequence[Target] = (),
    missing: str = "",
) -> Step:
    """One of the scripts beside this one, on the device."""
    path = str(REPOSITORY / "benchmarks" / words[0])
    options = ["--device", settings.device, *(quick if settings.quick else full)]
    return Step(name, [settings.python, path, *words[1:], *options], seconds, targets, missing)


def _module(
    settings: Settings,
    name: str,
    seconds: float,
    words: Sequence[str],
    full: Sequence[str] = (),
    quick: Sequence[str] = (),
) -> Step:
    return Step(name, [settings.python, "-m", *words, *(quick if settings.quick else full)], seconds)


def _at_most(row: str, column: str, bound: float) -> Target:
    return Target(row, column, bound, at_most=True)


def _at_least(row: str, column: str, bound: float) -> Target:
    return Target(row, column, bound, at_most=False)


def _no_sampler(python: str) -> str:
    """Why PyG's recipe can't run; empty if it can."""
    wanted = "import importlib.util as u, sys; sys.exit(not (u.find_spec('pyg_lib') or u.find_spec('torch_sparse')))"
    try:
        done = subprocess.run([python, "-c", wanted], capture_output=True, check=False)
    except OSError as error:
        return f"{python} can't be run ({error.strerror})"
    return (
        f"{Path(python).name} has neither pyg-lib nor torch-sparse, which PyG's recipe needs" if done.returncode else ""
    )
