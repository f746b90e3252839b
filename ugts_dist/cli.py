"""`ugts ...`: parses arguments and calls one function per command. Each command imports its heavy modules itself."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import ugts_dist
from tuning.options import TuneOptions
from ugts_dist.analysis.kinds import ANALYSES, AnalyseOptions
from ugts_dist.arguments import parse, parse_one_of, parse_train
from ugts_dist.completion import FLAG, SHELLS, completion_script
from ugts_dist.doctor.options import DoctorOptions
from ugts_dist.ending import report_errors
from ugts_dist.errors import refuse_unknown
from ugts_dist.experiments.options import DemoOptions, ReproduceOptions
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.preset_list import PresetsOptions, preset_lines
from ugts_dist.report.options import ReportOptions, RunsOptions
from ugts_dist.terminal import log_to_stderr, say
from ugts_dist.tickets.options import TICKET_COMMANDS, EvaluateOptions, PredictOptions, TicketOptions

# PyG's import uses it, of which newer versions of torch warn. Here, so that processes that are spawned do the same.
warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=FutureWarning)


def train(args: Sequence[str]) -> None:
    arguments = parse_train(args)
    config = arguments.run_config()
    from ugts_dist.checkpointing.identity import Resume
    from ugts_dist.distributed.ranks import ranks_from_environment
    from ugts_dist.training.run import fit_settings, run

    with ranks_from_environment(config.run.device, config.run.timeout) as ranks:
        reasons: list[str] = []
        if arguments.fits_data:
            config, reasons = fit_settings(config, ranks, arguments.given)
        resume = Resume(arguments.resume, arguments.overridden)
        result, folder = run(config, ranks, resume, reasons=reasons)
    if ranks.is_main:
        say(f"run folder {folder}")
        say(f"{Path(result.path).name}: {result.bytes:,} bytes, after {result.seconds:.1f} s")
        say(
            f"test {result.metric} {result.test:.3f} at sparsity {result.sparsity:.4f} "
            f"(best validation {result.metric} {result.valid:.3f}, in epoch {result.epoch})"
        )


def evaluate(args: Sequence[str]) -> None:
    arguments = parse(EvaluateOptions, args, "evaluate")
    from ugts_dist.checkpointing.saved_network import Named
    from ugts_dist.distributed.ranks import ranks_from_environment
    from ugts_dist.training.run import evaluate as measure

    with ranks_from_environment(arguments.device) as ranks:
        named = Named(arguments.graph, arguments.root, arguments.factory)
        evaluation = measure(Path(arguments.path), ranks, named)
    config, metric, measured, saved = evaluation.config, evaluation.metric, evaluation.measured, evaluation.saved
    if ranks.is_main:
        say(f"{config.data.name}, {config.model.description}")
        say(f"saved with: validation {metric} {saved['valid']:.4f}, test {metric} {saved['test']:.4f}")
        say(f"sparsity {saved['sparsity']:.4f}, validation {metric} {measured['valid']:.4f}")
        say(f"test {metric} {measured['test']:.4f}")


def predict(args: Sequence[str]) -> None:
    options = parse(PredictOptions, args, "predict")
    from ugts_dist.distributed.ranks import ranks_from_environment
    from ugts_dist.tickets.predict import predict as write

    with ranks_from_environment(options.device, options.timeout) as ranks:
        done = write(options, ranks)
    if ranks.is_main:
        say(f"{options.out}: {done.rows:,} rows{f', {done.accuracy}' if done.accuracy else ''}")


def ticket(args: Sequence[str]) -> None:
    options = parse_one_of(TICKET_COMMANDS, TicketOptions, args, "ticket")
    from ugts_dist.tickets.commands import run

    run(options.command)


def analyse(args: Sequence[str]) -> None:
    options = parse_one_of(ANALYSES, AnalyseOptions, args, "analyse")
    from ugts_dist.analysis.commands import run

    run(options.command)


def report(args: Sequence[str]) -> None:
    options = parse(ReportOptions, args, "report")
    from ugts_dist.report.command import write_report

    say(write_report(options))


def runs(args: Sequence[str]) -> None:
    options = parse(RunsOptions, args, "runs")
    from ugts_dist.report.run_list import run_list

    for line in run_list(options).splitlines():
        say(line)


def demo(args: Sequence[str]) -> None:
    arguments = parse(DemoOptions, args, "demo")
    from ugts_dist.distributed.ranks import ranks_from_environment
    from ugts_dist.experiments.demo import run_demo

    with ranks_from_environment("auto") as ranks:
        run_demo(arguments.folder, arguments.seed, ranks)


def reproduce(args: Sequence[str]) -> None:
    options = parse(ReproduceOptions, args, "reproduce")
    from ugts_dist.experiments.reproduce import reproduce as run_studies

    say(f"page {run_studies(options)}")


def presets(args: Sequence[str]) -> None:
    for line in preset_lines(parse(PresetsOptions, args, "presets")):
        say(line)


def prepare(args: Sequence[str]) -> None:
    options = parse(PrepareOptions, args, "prepare")
    from ugts_dist.graphs.prepare import prepare as write

    say(write(options))


def tune(args: Sequence[str]) -> None:
    options = parse(TuneOptions, args, "tune")
    from tuning.command import tune as search

    search(options)


def doctor(args: Sequence[str]) -> None:
    options = parse(DoctorOptions, args, "doctor")
    from ugts_dist.doctor.report import examine, show

    report = examine(options)
    show(report, options.json)
    if not report.ok:
        sys.exit(1)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "train": (train, "find a ticket in one graph"),
    "evaluate": (evaluate, "rebuild a ticket's network and measure its accuracy"),
    "predict": (predict, "predict for all nodes of a graph with a ticket"),
    "ticket": (ticket, "look at tickets, compare them, export their networks"),
    "analyse": (analyse, "look into a network: over-smoothing, robustness, calibration, ..."),
    "report": (report, "one HTML page about a run or a search, or comparing several runs"),
    "runs": (runs, "list runs, finished and unfinished, sorted by any field"),
    "demo": (demo, "tickets, Edge-Popup and a dense network on the embedded graph"),
    "tune": (tune, "search for the sparsest or smallest matching ticket, with Ray"),
    "reproduce": (reproduce, "the paper's tables and figures, or a study of your own"),
    "presets": (presets, "list the presets by graph, or print one as TOML"),
    "prepare": (prepare, "turn a graph, such as your own, into memory-mapped arrays"),
    "doctor": (doctor, "what works on this machine, and why the rest does not"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 0: done; the others are those of `report_errors`."""
    args = list(sys.argv[1:] if argv is None else argv)
    # torch reads this when it is imported: huge pages for large tensors on a CPU. Without them, a quarter of a sampled
    # step is spent on mapping small pages for each large tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    log_to_stderr()
    with report_errors():
        _command(args)


def _command(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if args else 2)
    if args[0] == "--version":
        say(_versions())
        return
    if args[0] == FLAG:
        print(completion_script(args[1:]))
        return
    refuse_unknown(args[:1], COMMANDS, "unknown command")
    COMMANDS[args[0]][0](args[1:])


def _versions() -> str:
    """Versions of this program and of the packages that determine its results, without importing any."""
    found = {"ugts_dist": ugts_dist.__version__}
    for name in ("torch", "torch-geometric"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return ", ".join(f"{name} {version}" for name, version in (found | {"Python": platform.python_version()}).items())


def _usage() -> str:
    lines = [
        "usage: ugts COMMAND [OPTIONS]",
        "       ugts --version",
        f"       ugts {FLAG} {{{','.join(SHELLS)}}}",
        "",
        "Untrained tickets in graph neural networks, found at scale.",
        "",
    ]
    lines += [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`ugts COMMAND --help` explains a command, `ugts train --help-all` every field."])
