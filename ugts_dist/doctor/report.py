"""The whole examination. This module imports nothing heavy; what may crash or hang runs in a probe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from ugts_dist.doctor import machine
from ugts_dist.doctor.isolated import TIMEOUT_SECONDS, Answer, ask
from ugts_dist.doctor.options import DoctorOptions

PACKAGES = ("pyg-lib", "torch-sparse")

_HERE = "ugts_dist.doctor"
_WORLD_SIZE = 2
_AT_A_TIME = 4  # probes that run at once; each imports torch


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        detail: the result, or why it failed.
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
    """All results; sizes in bytes. `problems` has the probes that did not return."""

    versions: dict[str, str | None] = field(default_factory=machine.versions)
    torch: dict[str, Any] = field(default_factory=dict)
    cpu: dict[str, Any] = field(default_factory=machine.cpu)
    nvidia_driver: str | None = field(default_factory=machine.nvidia_driver)
    memory: dict[str, int | None] = field(default_factory=machine.memory)
    huge_pages: dict[str, str | None] = field(default_factory=machine.huge_pages)
    backends: list[Check] = field(default_factory=list)
    data_roots: list[str] = field(default_factory=list)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    stores_folder: str = ""
    stores: list[dict[str, Any]] = field(default_factory=list)
    self_test: list[Check] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every self-test passed, including our own sampler and torch."""
        ours = [check for check in self.backends if check.name == "ours"]
        return not self.problems and all(check.ok for check in (*ours, *self.self_test))

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def examine(options: DoctorOptions) -> Report:
    """Run every probe. It only reads; the self-test writes to temporary folders."""
    report = Report()

    def value(name: str, answer: Answer) -> dict[str, Any]:
        if answer.problem:
            report.problems[name] = answer.problem
        return answer.value or {}

    def asked(probe: str, *args: Any) -> Answer:
        return ask(f"{_HERE}.{probe}", *args, timeout=options.timeout)

    report.torch = value("torch", asked("probes:torch_build"))
    if not report.torch:
        return report
    tests = {} if options.quick else dict(_self_tests(len(report.torch["gpus"])))
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        ours = pool.submit(asked, "probes:sampler")
        datasets = pool.submit(asked, "probes:datasets", options.root, os.getcwd())
        stores = pool.submit(asked, "probes:stores", options.stores, os.getcwd())
        self_test = {name: pool.submit(asked, *test) for name, test in tests.items()}
        report.backends = [Check.of("ours", ours.result()), *examine_packages(options.timeout)]
        found = value("datasets", datasets.result())
        report.data_roots, report.datasets = found.get("roots", []), found.get("datasets", [])
        found = value("stores", stores.result())
        report.stores_folder, report.stores = found.get("folder", ""), found.get("stores", [])
        report.self_test = [Check.of(name, answer.result()) for name, answer in self_test.items()]
    return report


def examine_packages(timeout: float = TIMEOUT_SECONDS) -> list[Check]:
    """Try the other sampler back ends. Packages that are not installed need no process."""
    return [_examine_package(name, machine.installed(name), timeout) for name in PACKAGES]


def _examine_package(name: str, version: str | None, timeout: float) -> Check:
    if version is None:
        return Check(name, False, f"{name} is not installed", 0.0)
    answer = ask(f"{_HERE}.probes:package", name, timeout=timeout)
    if answer.problem and not answer.problem.startswith(name):
        versions = f"{name} {version} with torch {machine.installed('torch')}"
        answer = Answer(None, f"{versions} does not load: {answer.problem}", answer.seconds)
    return Check.of(name, answer)


def _self_tests(gpus: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name of each self-test, with its function and arguments."""
    yield "imports", ("probes:imports",)
    yield "threshold equals a sort", ("selftest:threshold",)
    yield "processes all-reduce (gloo)", ("selftest:all_reduce", _WORLD_SIZE)
    yield "weights as ever", ("selftest:weights",)
    yield "training on cpu", ("selftest:training", "cpu")
    for device in (f"cuda:{index}" for index in range(gpus)):
        yield f"training on {device}", ("selftest:training", device)
        yield f"same samples on {device}", ("selftest:same_samples", device)
