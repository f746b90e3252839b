"""The report as tables on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.table import Table
from rich.text import Text

from ugts_dist.console import new_table, output, pairs, plain
from ugts_dist.doctor.report import Check, Report

_FEW_OPEN_FILES = 1024


def show(report: Report, as_json: bool) -> None:
    """Print the report: a table for each part, or one JSON object."""
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _tables(report, output())


def _tables(report: Report, console: Console) -> None:
    console.print(pairs("Versions", ((name, version or "not installed") for name, version in report.versions.items())))
    console.print(pairs("Devices", _devices(report)))
    console.print(pairs("Memory", _memory(report)))
    console.print(_checks("Sampler back ends", report.backends))
    console.print(pairs("Data", _data(report)))
    console.print(pairs(f"Graph stores in {report.stores_folder}", _stores(report)))
    if report.self_test:
        console.print(_checks("Self-test", report.self_test))
    for probe, problem in report.problems.items():
        console.print(plain(f"{probe}: {problem}", "red"))
    console.print(_verdict(report))


def _devices(report: Report) -> Iterator[tuple[str, str]]:
    cpu, torch = report.cpu, report.torch
    quota = "" if cpu["cgroup_quota"] is None else f", cgroup grants {cpu['cgroup_quota']:g}"
    yield "CPU", f"{cpu['model']}, {cpu['usable']} of {cpu['cores']} cores usable (affinity {cpu['affinity']}{quota})"
    yield "NVIDIA driver", report.nvidia_driver or "none"
    if not torch:
        return
    build = next(
        (f"{kind} {torch[key]}" for kind, key in (("CUDA", "cuda"), ("ROCm", "hip")) if torch[key]), "CPU only"
    )
    yield "torch", f"{torch['version']}, built for {build}"
    yield "process groups", f"gloo {'there' if torch['gloo'] else 'missing'}, NCCL {torch['nccl'] or 'missing'}"
    for index, gpu in enumerate(torch["gpus"]):
        free, total = size(gpu["memory_free"]), size(gpu["memory_total"])
        yield f"cuda:{index}", f"{gpu['name']} (compute capability {gpu['capability']}), {free} free of {total}"
    if torch["gpu_problem"]:
        yield "GPU", f"none usable: {torch['gpu_problem']}"


def _memory(report: Report) -> Iterator[tuple[str, str]]:
    memory, pages = report.memory, report.huge_pages
    yield "memory", f"{size(memory['available'])} available of {size(memory['total'])}"
    yield "cgroup limit", "none" if memory["cgroup_limit"] is None else size(memory["cgroup_limit"])
    yield "/dev/shm", f"{size(memory['shm_free'])} free of {size(memory['shm_size'])}"
    files = memory["open_files"]
    few = " (few for many workers: see ulimit -n)" if files is not None and files <= _FEW_OPEN_FILES else ""
    yield "open files", f"{'no limit' if files is None else files}{few}"
    unknown = "unknown"
    yield "huge pages", f"{pages['private'] or unknown}; shared memory {pages['shared'] or unknown}"


def _data(report: Report) -> Iterator[tuple[str, str]]:
    yield "looked in", ", ".join(report.data_roots)
    for state in ("complete", "incomplete"):
        for entry in (entry for entry in report.datasets if entry["state"] == state):
            lacks = f", incomplete: {', '.join(entry['missing'])} missing" if entry["missing"] else ""
            yield entry["name"], f"{entry['folder']}{lacks}"
    for state in ("embedded", "not found"):
        names = [entry["name"] for entry in report.datasets if entry["state"] == state]
        if names:
            yield state, ", ".join(names)


def _stores(report: Report) -> Iterator[tuple[str, str]]:
    if not report.stores:
        yield "none", "`ugts prepare` makes them"
    for entry in report.stores:
        name = entry["folder"].rpartition("/")[2]
        if entry["problem"]:
            yield name, f"does not open: {entry['problem']}"
            continue
        yield (
            name,
            f"{entry['num_nodes']:,} nodes, {entry['num_edges']:,} edges, {entry['num_features']} features, "
            f"{entry['num_classes']} classes, {size(entry['bytes'])}",
        )


def _verdict(report: Report) -> Text:
    if not report.ok:
        return Text("Something that is needed does not work, see above.", style="red")
    text = "All is usable." if report.self_test else "What was looked at is usable; the self-test was left out."
    return Text(text, style="green")


def _checks(title: str, checks: Iterable[Check]) -> Table:
    table = new_table(title, ("", "", "", "s"), numbers=False)
    table.show_header = False
    for check in checks:
        state = Text("ok", style="green") if check.ok else Text("failed" if check.seconds else "no", style="red")
        table.add_row(plain(check.name), state, plain(check.detail), f"{check.seconds:.1f}")
    return table


def size(count: int | None) -> str:
    """Bytes with a unit, to show."""
    if count is None:
        return "unknown"
    unit, name = pick_unit_and_suffix(count, ["B", "KiB", "MiB", "GiB"], 1024)
    return f"{count / unit:.1f} {name}"
