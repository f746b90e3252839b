"""Tables of what `scaling.py` has measured, and of what follows for GPUs that were not there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from scaling_model import Counted, Gpu, Link, predicted
from side_by_side import table

Run = Mapping[str, Any]

# Seconds of full-batch steps on an H200, where the host was the limit (RESULTS.md).
STEPS_ON_A_GPU = {"cora-gcn-deep": 35.4e-3, "cora-gat-deep": 90.7e-3}
LINKS = (
    Link("NVLink", bandwidth=200e9, latency=25e-6),
    Link("100 Gbit/s", bandwidth=10e9, latency=60e-6),
    Link("10 Gbit/s", bandwidth=1e9, latency=100e-6),
)
_PRODUCTS = {"nodes": 2_449_029, "train": 196_615}  # OGBN-Products


def h100(results: Mapping[str, Any]) -> Gpu:
    """67 TFLOP/s in float32 and 3.35 TB/s are those of the data sheet."""
    host = fmean(seconds / results["operations"][preset] for preset, seconds in STEPS_ON_A_GPU.items())
    return Gpu("H100", 67e12, 3.35e12, flops_reached=0.5, bytes_reached=0.4, host=host, threads=2)


def measured_tables(results: Mapping[str, Any]) -> str:
    """What was counted and timed, in Markdown."""
    shape = f"{len(results['fan_out'])} x {results['width']}, fan-out {'/'.join(map(str, results['fan_out']))}"
    scores = results["strong"][0]["scores"]
    parts = [
        f"{results['graph']}: {results['nodes']:,} nodes, {results['edges']:,} edges; GraphSAGE {shape}, UGTs, "
        f"{scores:,} scores; medians of {results['steps']} steps, {results['cores']} shared CPU cores, "
        f"torch {results['torch']}.",
        f"Strong scaling, {results['strong'][0]['batch']:,} seeds over all ranks:",
        _measured_table(results["strong"]),
        f"Weak scaling, {results['weak'][0]['batch']:,} seeds a rank:",
        _measured_table(results["weak"]),
        "What a rank says in a step, and the bytes that it sends:",
        _volume_table(results["strong"]),
        _tickets(results["strong"]),
    ]
    return "\n\n".join(parts)


def _measured_table(runs: Sequence[Run]) -> str:
    first = runs[0]
    rows = [
        [
            str(run["ranks"]),
            f"{run['steps_per_epoch']:,}",
            f"{run['nodes']:,.0f}",
            f"{run['flops'] / 1e9:.2f}",
            f"{run['flops'] * run['ranks'] / (first['flops'] * run['batch'] / first['batch']):.2f}",
            f"{run['cpu']:.2f}",
            f"{run['loading_cpu'] / run['cpu']:.0%}",
            f"{run['threshold_cpu'] / run['cpu']:.1%}",
            f"{run['seconds']:.2f}",
            f"{run['batch'] / run['seconds']:.0f}",
        ]
        for run in runs
    ]
    header = ["ranks", "steps an epoch", "nodes a rank", "GFLOP a rank", "work for a seed, of 1 rank's"]
    header += ["CPU s a step, of a rank", "of it loading", "of it the threshold", "s a step", "seeds/s"]
    return table(header, rows)


def _volume_table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs[1:]:
        calls = run["collectives"]
        gathers = [call for call in calls if call[0] == "threshold"]
        gradients = [call for call in calls if call[0] == "gradients"]
        rows.append(
            [
                str(run["ranks"]),
                _kilobytes(sum(call[3] for call in gradients)) + f" in {len(gradients)}",
                _kilobytes(sum(call[3] for call in gathers)) + f" in {len(gathers)}",
                _kilobytes(run["sent"]) + f" in {len(calls)}",
                _kilobytes(run["sockets"]),
                _kilobytes(run["sent"] * run["steps_per_epoch"]),
            ]
        )
    header = ["ranks", "all-reduce of gradients", "all-gathers of the threshold", "a step", "the same, by the sockets"]
    return table([*header, "an epoch"], rows)


def _tickets(runs: Sequence[Run]) -> str:
    different = {run["ticket"] for run in runs}
    counts = ", ".join(str(run["ranks"]) for run in runs)
    if len(different) == 1:
        return f"After all steps the tickets of {counts} ranks are byte-identical (strong scaling)."
    return f"After all steps the tickets of {counts} ranks are {len(different)} different files (strong scaling)."


def predicted_tables(results: Mapping[str, Any]) -> str:
    """Steps and epochs on 1 to 8 GPUs, in Markdown."""
    runs, gpu = results["strong"], h100(results)
    batch, most = runs[0]["batch"], runs[-1]["ranks"]
    exchanged = 4 * results["width"] * _PRODUCTS["nodes"]
    seconds = ", ".join(f"{exchanged / link.bandwidth:.2g} s ({link.name})" for link in LINKS)
    parts = [
        _assumptions(gpu, results["operations"]),
        f"Weak scaling, {batch:,} seeds a GPU:",
        _predicted_table([(runs[0], run) for run in runs], gpu),
        f"Strong scaling, {batch:,} seeds over all GPUs:",
        _predicted_table([(run, run) for run in runs], gpu),
        f"An exact evaluation sends each hidden layer of all {_PRODUCTS['nodes']:,} nodes to each of {most} GPUs, "
        f"{exchanged / 1e9:.1f} GB: {seconds}.",
    ]
    return "\n\n".join(parts)


def _assumptions(gpu: Gpu, operations: Mapping[str, int]) -> str:
    known = " and ".join(
        f"{1e3 * seconds:.1f} ms for {operations[preset]:,} ({preset})" for preset, seconds in STEPS_ON_A_GPU.items()
    )
    rows = [
        ["*f*", f"{gpu.flops / 1e12:.0f} TFLOP/s in float32, of which {gpu.flops_reached:.0%} are reached"],
        ["*m*", f"{gpu.bytes / 1e12:.2f} TB/s, of which {gpu.bytes_reached:.0%} are reached"],
        ["*h*", f"{gpu.host * 1e6:.1f} µs: the mean of {known} on an H200"],
        ["*T*", str(gpu.threads)],
    ]
    rows += [
        [f"*w*, *l*, {link.name}", f"{link.bandwidth / 1e9:.0f} GB/s in a direction, {link.latency * 1e6:.0f} µs"]
        for link in LINKS
    ]
    return table(["assumed", f"{gpu.name} and network"], rows)


def _predicted_table(pairs: Sequence[tuple[Run, Run]], gpu: Gpu) -> str:
    """A row for each number of ranks: the parts of a step, an epoch, and the speed with each link."""
    rows, first, fast = [], pairs[0][0], replace(gpu, threads=1_000_000)
    for work, run in pairs:
        steps = [predicted(_counted(work, run), gpu, link) for link in LINKS]
        batch = work["batch"] * (1 if work is run else run["ranks"])
        rows.append(
            [
                str(run["ranks"]),
                *(f"{1e3 * part:.1f}" for part in (steps[0].host, steps[0].loading, steps[0].compute)),
                " / ".join(f"{1e3 * step.communication:.2f}" for step in steps),
                " / ".join(f"{math.ceil(_PRODUCTS['train'] / batch) * step.seconds:.2f}" for step in steps),
                " / ".join(f"{speed:.1f}" for speed in _times_as_fast(first, (work, run), batch, gpu)),
                " / ".join(f"{speed:.1f}" for speed in _times_as_fast(first, (work, run), batch, fast)),
            ]
        )
    links = " / ".join(link.name for link in LINKS)
    header = ["GPUs", "host, ms", "batches, ms", "GPU, ms", f"collectives, ms: {links}", "an epoch, s"]
    return table([*header, "times as fast as 1", "the same if batches cost nothing"], rows)


def _times_as_fast(first: Run, pair: tuple[Run, Run], batch: int, gpu: Gpu) -> Iterator[float]:
    """Seeds a second, in those of one GPU, with each link."""
    for link in LINKS:
        alone = predicted(_counted(first, first), gpu, link).seconds / first["batch"]
        yield alone * batch / predicted(_counted(*pair), gpu, link).seconds


def _counted(work: Run, ranks: Run) -> Counted:
    """The work of one run, and the collectives of another."""
    return Counted(
        world_size=ranks["ranks"],
        flops=work["flops"],
        moved=work["moved"],
        operations=work["operations"],
        loading_operations=work["loading_operations"],
        loading=work["loading_cpu"] / work["cpu"],
        collectives=len(ranks["collectives"]),
        sent=ranks["sent"],
    )


def _kilobytes(size: float) -> str:
    return f"{size / 1e3:,.0f} kB"
