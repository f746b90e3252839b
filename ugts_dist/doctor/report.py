"""The whole examination, as tables or JSON. This module imports nothing heavy; what may crash runs in a child."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

from rich.table import Table

from ugts_dist.console import new_table, output, pairs, plain
from ugts_dist.doctor import checks, machine
from ugts_dist.doctor.isolated import Check, Task, run
from ugts_dist.doctor.options import DoctorOptions

PACKAGES = ("pyg-lib", "torch-sparse")
_TITLES = {"devices": "Devices", "backends": "Sampler back ends", "data": "Data", "self_test": "Self-test"}
_AT_A_TIME = 4  # child processes; each imports torch


@dataclass(frozen=True)
class Report:
    """Facts of the machine, and the checks by section."""

    versions: machine.Facts
    machine: machine.Facts
    checks: dict[str, list[Check]]

    @property
    def ok(self) -> bool:
        """Whether every check holds, but the other packages' samplers; the rows of a check do not count."""
        return all(check.ok for section in self.checks.values() for check in section if check.name not in PACKAGES)


def examine(options: DoctorOptions) -> Report:
    """Run every check. It only reads; the self-test writes to temporary folders."""
    base = os.getcwd()
    main: list[Task] = [
        ("torch", checks.torch_build),
        ("ours", partial(checks.sampler, "ours")),
        ("datasets", partial(checks.datasets, options.root, base)),
        ("stores", partial(checks.stores, options.stores, base)),
    ]
    self_test: list[Task] = [
        ("imports", checks.imports),
        ("threshold equals a sort", checks.threshold),
        ("weights as ever", checks.weights),
        ("training on cpu", partial(checks.training, "cpu")),
    ]
    processes: list[Task] = [("processes all-reduce (gloo)", checks.all_reduce)]
    groups = [main] if options.quick else [main + self_test, processes]
    run_all = partial(run, timeout=options.timeout)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        pending = [pool.submit(run_all, group) for group in groups]
        packages = list(pool.map(partial(examine_package, timeout=options.timeout), PACKAGES))
        torch, ours, datasets, stores, *tests = [check for each in pending for check in each.result()]
        gpus = [row.name for row in torch.rows if row.name.startswith("cuda:") and not options.quick]
        tests += [check for group in pool.map(run_all, map(on_device, gpus)) for check in group]
    sections = {"devices": [torch], "backends": [ours, *packages], "data": [datasets, stores], "self_test": tests}
    return Report(machine.versions(), machine.facts(), sections)


def on_device(device: str) -> list[Task]:
    """The checks of a GPU, in one process."""
    return [
        (f"training on {device}", partial(checks.training, device)),
        (f"same samples on {device}", partial(checks.same_samples, device)),
    ]


def examine_package(name: str, timeout: float) -> Check:
    """Try another package's sampler, whose library may crash. A package that is not installed needs no process."""
    version = machine.installed(name)
    if version is None:
        return Check(name, False, f"{name} is not installed")
    (check,) = run([(name, partial(checks.sampler, name))], timeout)
    if check.ok or check.text.startswith(name):
        return check
    versions = f"{name} {version} with torch {machine.installed('torch')}"
    return Check(name, False, f"{versions} does not load: {check.text}", check.seconds)


def show(report: Report, as_json: bool) -> None:
    """Print the report: a table for each part, or one JSON object."""
    if as_json:
        sections = {name: list(map(asdict, section)) for name, section in report.checks.items()}
        facts = {"versions": report.versions, "machine": report.machine}
        print(json.dumps({"ok": report.ok, **facts, **sections}, indent=1))
        return
    console = output()
    for title, values, absent in (("Versions", report.versions, "not installed"), ("Machine", report.machine, "none")):
        console.print(pairs(title, ((name, absent if value is None else value) for name, value in values.items())))
    for section, title in _TITLES.items():
        if report.checks[section]:
            console.print(_table(title, report.checks[section]))
    if not report.ok:
        console.print(plain("Something that is needed does not work, see above.", "red"))
    elif report.checks["self_test"]:
        console.print(plain("All is usable.", "green"))
    else:
        console.print(plain("What was looked at is usable; the self-test was left out.", "green"))


def _table(title: str, rows: list[Check]) -> Table:
    table = new_table(title, ("", "", "", "s"), numbers=False)
    table.show_header = False
    for row in (row for check in rows for row in (check, *check.rows)):
        state = plain("ok", "green") if row.ok else plain("failed" if row.seconds else "no", "red")
        table.add_row(plain(row.name), state, plain(row.text), f"{row.seconds:.1f}" if row.seconds else "")
    return table
