"""The examination as a whole. Nothing heavy is imported here: what may crash or hang does so in a probe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ugts_dist.doctor import machine
from ugts_dist.doctor.isolated import TIMEOUT_SECONDS, Answer, Probes
from ugts_dist.doctor.options import DoctorOptions
from ugts_dist.errors import InputError

DATA_VARIABLE, STORES_VARIABLE = "UGTS_DATA", "UGTS_STORES"
CACHE = "~/.cache/ugts_dist"
PACKAGES = ("pyg-lib", "torch-sparse")

_HERE = "ugts_dist.doctor"
_PRELOAD = (f"{_HERE}.samplers", f"{_HERE}.found", f"{_HERE}.selftest", "ugts_dist.training.run")
_MEET_CUDA = ("training", "same_samples")  # training on a CPU too: torch's optimisers ask for the GPUs that there are
_WORLD_SIZE = 2


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        detail: what was found, or why it failed.
    """

    name: str
    ok: bool
    detail: str
    seconds: float

    @classmethod
    def of(cls, name: str, answer: Answer) -> Check:
        return cls(name, not answer.problem, answer.problem or str(answer.value or ""), round(answer.seconds, 2))


@dataclass
class Report:
    """Everything that the doctor found; sizes in bytes. `problems` names probes that themselves did not return."""

    versions: dict[str, str | None] = field(default_factory=dict)
    torch: dict[str, Any] = field(default_factory=dict)
    cpu: dict[str, Any] = field(default_factory=dict)
    nvidia_driver: str | None = None
    memory: dict[str, int | None] = field(default_factory=dict)
    huge_pages: dict[str, str | None] = field(default_factory=dict)
    backends: list[Check] = field(default_factory=list)
    data_roots: list[str] = field(default_factory=list)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    stores_folder: str = ""
    stores: list[dict[str, Any]] = field(default_factory=list)
    self_test: list[Check] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every self-test held, our own sampler and torch included."""
        ours = [check for check in self.backends if check.name == "ours"]
        return not self.problems and all(check.ok for check in (*ours, *self.self_test))

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def examine(options: DoctorOptions) -> Report:
    """Ask every probe. Reads only; what the self-test writes goes into temporary folders.

    Raises InputError where `root` or `stores` is given and is no folder.
    """
    timeout = options.timeout
    report = Report(
        versions=machine.versions(),
        cpu=machine.cpu(),
        nvidia_driver=machine.nvidia_driver(),
        memory=machine.memory(),
        huge_pages=machine.huge_pages(),
        backends=examine_packages(timeout),
        data_roots=_data_roots(options.root),
        stores_folder=_stores_folder(options.stores),
    )
    # CUDA does not start in the fork of a process that has asked for it, as some imports do: `fresh` imports nothing.
    with Probes(_PRELOAD, timeout) as probes, Probes((), timeout) as fresh:
        if probes.imported.problem:
            report.problems["importing torch and PyG"] = probes.imported.problem
            return report
        report.torch = _value(report, "torch", fresh.ask(f"{_HERE}.machine:torch_build")) or {}
        gpus = len(report.torch.get("gpus", ()))
        report.backends.insert(0, Check.of("ours", probes.ask(f"{_HERE}.samplers:ours")))
        report.datasets = _value(report, "datasets", probes.ask(f"{_HERE}.found:datasets", report.data_roots)) or []
        report.stores = _value(report, "stores", probes.ask(f"{_HERE}.found:stores", report.stores_folder)) or []
        if not options.quick:
            report.self_test.append(Check.of("imports", replace(probes.imported, value="torch, PyG and this program")))
            for name, function, args in _self_tests(gpus):
                where = fresh if gpus and function in _MEET_CUDA else probes
                answer = where.ask(f"{_HERE}.selftest:{function}", *args)
                report.self_test.append(Check.of(name, answer))
    return report


def examine_packages(timeout: float = TIMEOUT_SECONDS) -> list[Check]:
    """Try the other sampler back ends; what is not installed needs no process to say so."""
    return [_examine_package(name, machine.installed(name), timeout) for name in PACKAGES]


def _examine_package(name: str, version: str | None, timeout: float) -> Check:
    if version is None:
        return Check(name, False, f"{name} is not installed", 0.0)
    with Probes(("torch",), timeout) as probes:
        answer = probes.ask(f"{_HERE}.samplers:package", name)
    if answer.problem.startswith("RuntimeError: "):
        answer = replace(answer, problem=answer.problem.removeprefix("RuntimeError: "))
    elif answer.problem:
        versions = f"{name} {version} with torch {machine.installed('torch')}"
        answer = replace(answer, problem=f"{versions} does not load: {answer.problem}")
    return Check.of(name, answer)


def _self_tests(gpus: int) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Name, function and arguments of each self-test."""
    yield "threshold equals a sort", "threshold", ()
    yield "processes all-reduce (gloo)", "all_reduce", (_WORLD_SIZE,)
    yield "weights as ever", "weights", ()
    yield "training on cpu", "training", ("cpu",)
    for device in (f"cuda:{index}" for index in range(gpus)):
        yield f"training on {device}", "training", (device,)
        yield f"same samples on {device}", "same_samples", (device,)


def _value(report: Report, probe: str, answer: Answer) -> Any:
    if answer.problem:
        report.problems[probe] = answer.problem
    return answer.value


def _data_roots(root: str) -> list[str]:
    if root and not Path(root).is_dir():
        raise InputError(f"--root is {root}, which is no folder; allowed is a folder with raw files of datasets")
    given = [root, os.environ.get(DATA_VARIABLE, ""), f"{CACHE}/data"]
    return list(dict.fromkeys(str(Path(place).expanduser().absolute()) for place in given if place))


def _stores_folder(stores: str) -> str:
    if stores and not Path(stores).is_dir():
        raise InputError(f"--stores is {stores}, which is no folder; allowed is a folder with graph stores")
    place = stores or os.environ.get(STORES_VARIABLE, "") or f"{CACHE}/stores"
    return str(Path(place).expanduser().absolute())
