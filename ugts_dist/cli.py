"""`ugts ...`: parses, and calls one function a command. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import tyro

from ugts_dist.config import Config, load_preset, load_toml, preset_names
from ugts_dist.doctor.options import DoctorOptions
from ugts_dist.errors import InputError, LostRankError, StoppedError
from ugts_dist.experiments.options import DemoOptions
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.tickets.options import TICKET_COMMANDS, EvaluateOptions, PredictOptions, TicketOptions

Arguments = TypeVar("Arguments")

_MAIN_RANK_FIRST = 1.0  # seconds: torchrun ends all ranks with the first one, also before that could tell why
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a stopped run that has saved itself


@dataclass(frozen=True)
class TrainArguments(Config):
    """Find a ticket in one graph: the weights stay random, their scores are trained, one threshold masks them.

    Alone: `ugts train --preset cora-gcn`. On several ranks: `torchrun --standalone --nproc_per_node=2 -m ugts_dist
    train --preset digits`. A preset or a file gives the configuration, each further option changes one field of it.

    `ugts train RUN_FOLDER` goes on with a run that was stopped or killed, from its newest valid checkpoint.
    """

    preset: Annotated[str, tyro.conf.arg(help=f"Start from a configuration by name: {', '.join(preset_names())}.")] = ""
    config: str = ""
    """Start from a configuration file (TOML), for instance the config.toml of an earlier run."""
    resume: str = "auto"
    """auto: a run whose folder is there goes on from its newest valid checkpoint. never: only a new folder is taken.
    Else the folder of a run, or of one of its checkpoints, from which a new folder goes on."""
    resume_override: Annotated[tuple[str, ...], tyro.conf.arg(name="resume.override")] = ()
    """Fields that may differ from those of the run that goes on, for instance run.epochs."""
    init_scores: str = ""
    """The same as --run.init-scores."""


def train(args: Sequence[str]) -> None:
    arguments = _parse_train(args)
    config = Config(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Config)})
    if arguments.init_scores:
        config = config.replace({"run.init_scores": arguments.init_scores})
    from ugts_dist.training.ranks import ranks_from_environment
    from ugts_dist.training.run import run
    from ugts_dist.training.run_folder import Resume

    with ranks_from_environment(config.run.device, config.run.timeout) as ranks:
        result, folder = run(config, ranks, Resume(arguments.resume, arguments.resume_override))
    if ranks.is_main:
        print(f"run folder {folder}")
        print(f"{Path(result.path).name}: {result.bytes:,} bytes, after {result.seconds:.1f} s")
        print(
            f"test {result.metric} {result.test:.3f} at sparsity {result.sparsity:.4f} "
            f"(best validation {result.metric} {result.valid:.3f}, in epoch {result.epoch})"
        )


def evaluate(args: Sequence[str]) -> None:
    arguments = _parse(EvaluateOptions, args, "evaluate")
    from ugts_dist.training.ranks import ranks_from_environment
    from ugts_dist.training.run import evaluate as measure
    from ugts_dist.training.tasks import metric_of

    with ranks_from_environment(arguments.device) as ranks:
        config, measured, saved = measure(Path(arguments.path), ranks, arguments.root)
    metric = metric_of(config)
    if ranks.is_main:
        print(f"{config.data.name}, {config.model.arch} of depth {config.model.depth} and width {config.model.width}")
        print(f"saved with: validation {metric} {saved['valid']:.4f}, test {metric} {saved['test']:.4f}")
        print(f"sparsity {saved['sparsity']:.4f}, validation {metric} {measured['valid']:.4f}")
        print(f"test {metric} {measured['test']:.4f}")


def predict(args: Sequence[str]) -> None:
    options = _parse(PredictOptions, args, "predict")
    from ugts_dist.tickets.predict import predict as write
    from ugts_dist.training.ranks import ranks_from_environment

    with ranks_from_environment(options.device, options.timeout) as ranks:
        rows = write(options, ranks)
    if ranks.is_main:
        print(f"{options.out}: {rows:,} rows")


def ticket(args: Sequence[str]) -> None:
    if args and args[0] not in (*TICKET_COMMANDS, "-h", "--help"):
        raise InputError(f"unknown command ticket {args[0]!r}, allowed are {', '.join(TICKET_COMMANDS)}")
    options = _parse(TicketOptions, args, "ticket")
    from ugts_dist.tickets.commands import run

    run(options.command)


def demo(args: Sequence[str]) -> None:
    arguments = _parse(DemoOptions, args, "demo")
    from ugts_dist.experiments.demo import run_demo
    from ugts_dist.training.ranks import ranks_from_environment

    with ranks_from_environment("auto") as ranks:
        run_demo(arguments.folder, arguments.seed, ranks)


def prepare(args: Sequence[str]) -> None:
    options = _parse(PrepareOptions, args, "prepare")
    from ugts_dist.graphs.prepare import prepare as write

    print(write(options))


def doctor(args: Sequence[str]) -> None:
    options = _parse(DoctorOptions, args, "doctor")
    from ugts_dist.doctor.report import examine
    from ugts_dist.doctor.tables import show

    report = examine(options)
    show(report, options.json)
    if not report.ok:
        sys.exit(1)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "train": (train, "find a ticket in one graph"),
    "evaluate": (evaluate, "rebuild a ticket's network and measure its accuracy"),
    "predict": (predict, "predict for all nodes of a graph with a ticket"),
    "ticket": (ticket, "look at tickets, compare them, export their networks"),
    "demo": (demo, "tickets, Edge-Popup and a dense network side by side on the embedded graph"),
    "prepare": (prepare, "turn a graph, for instance your own, into memory-mapped arrays"),
    "doctor": (doctor, "what of this machine is usable, and why the rest is not"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point.

    Exit code 0: done; 2: a mistake in the input, told in one line; 75: stopped by a signal, to be started again; 1: a
    failure of ours.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    # Read by torch when it is imported: huge pages for large tensors on a CPU. A quarter of a sampled step goes into
    # the small ones otherwise, as each large tensor is mapped anew.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if args else 2)
    try:
        if args[0] not in COMMANDS:
            raise InputError(f"unknown command {args[0]!r}, allowed are {', '.join(COMMANDS)}")
        COMMANDS[args[0]][0](args[1:])
    except InputError as error:
        _complain(str(error), 2)
    except FloatingPointError as error:
        _complain(str(error), 1)
    except LostRankError as error:
        _complain(str(error), 1, every_rank=True)
    except StoppedError as stop:
        _complain(str(stop), TRY_AGAIN)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _complain(f"{error.filename or 'output'}: {error.strerror}", 1)
    except KeyboardInterrupt:
        _complain("interrupted", 130)


def _usage() -> str:
    lines = [
        "usage: ugts COMMAND [OPTIONS]",
        "",
        "Untrained tickets in graph neural networks, found at scale.",
        "",
    ]
    lines += [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`ugts COMMAND --help` explains every option of a command."])


def _complain(message: str, code: int, every_rank: bool = False) -> NoReturn:
    """End with one line, which the main rank tells, or each rank that is left."""
    if every_rank or os.environ.get("RANK", "0") == "0":
        print("ugts: " + " ".join(message.split()), file=sys.stderr)
    else:
        time.sleep(_MAIN_RANK_FIRST)
    sys.exit(code)


def _parse_train(args: Sequence[str]) -> TrainArguments:
    """Run folder, preset or file first, since they are the defaults of all other options."""
    if args and not args[0].startswith("-"):
        return _parse(TrainArguments, args[1:], "train", TrainArguments(**vars(_config_of_run(Path(args[0])))))
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default="")
    first.add_argument("--config", default="")
    try:
        chosen, _ = first.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    if chosen.preset and chosen.config:
        raise InputError("--preset and --config: only one of them is allowed")
    base = load_preset(chosen.preset) if chosen.preset else load_toml(chosen.config) if chosen.config else Config()
    return _parse(TrainArguments, args, "train", TrainArguments(**vars(base)))


def _config_of_run(folder: Path) -> Config:
    """The configuration of a run that is to go on in its folder."""
    if not (folder / "config.toml").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.toml")
    return load_toml(folder / "config.toml").replace({"run.folder": str(folder)})


def _parse(kind: type[Arguments], args: Sequence[str], command: str, default: Arguments | None = None) -> Arguments:
    """Parse with tyro, and turn its boxed complaints into one line."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=f"ugts {command}", args=list(args), **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    raise InputError(_one_line(complaint.getvalue()))


def _one_line(box: str) -> str:
    """The message of tyro's error box and, where it has one, the option that was meant."""
    # Where the terminal's encoding lacks the lines of the box, it is drawn with spaces and hyphens.
    lines = [line.strip("│╰╯ ") for line in box.splitlines()[1:]]
    lines = [line for line in lines if line][0 if "│" in box else 1 :]
    rule = next((i for i, line in enumerate(lines) if set(line) <= {"-", "─"}), len(lines))
    message = " ".join(lines[:rule])
    meant = next((line.split()[0].rstrip(",") for line in lines[rule + 1 :] if line.startswith("--")), "")
    return f"{message} (did you mean {meant}?)" if meant and meant not in message else message
