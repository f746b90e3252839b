"""Commands of the documentation: split into words, and parsed by the programs that they call."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from torch.distributed.run import get_args_parser as torchrun_parser

from tests.docs.pages import ROOT
from tuning.options import TuneOptions
from ugts_dist.analysis.kinds import ANALYSES, AnalyseOptions
from ugts_dist.arguments import parse, parse_one_of, parse_train
from ugts_dist.cli import COMMANDS
from ugts_dist.completion import FLAG, completion_script
from ugts_dist.doctor.options import DoctorOptions
from ugts_dist.experiments.options import DemoOptions, ReproduceOptions
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.preset_list import PresetsOptions
from ugts_dist.report.options import ReportOptions, RunsOptions
from ugts_dist.tickets.options import TICKET_COMMANDS, EvaluateOptions, PredictOptions, TicketOptions

# Other programs: only bash reads the line.
FOREIGN = {
    ".",
    "cd",
    "ray",
    "kubectl",
    "enroot",
    "pytest",
    "pre-commit",
    "export",
    "mkdocs",
    "mkdir",
    "pip",
    "nvidia-smi",
    "wandb",
    "sysctl",
    "df",
}
PARSERS: dict[str, Callable[[Sequence[str]], Any]] = {
    "train": lambda args: parse_train(args).run_config(),
    "evaluate": lambda args: parse(EvaluateOptions, args, "evaluate"),
    "predict": lambda args: parse(PredictOptions, args, "predict"),
    "ticket": lambda args: parse_one_of(TICKET_COMMANDS, TicketOptions, args, "ticket"),
    "analyse": lambda args: parse_one_of(ANALYSES, AnalyseOptions, args, "analyse"),
    "report": lambda args: parse(ReportOptions, args, "report"),
    "runs": lambda args: parse(RunsOptions, args, "runs"),
    "demo": lambda args: parse(DemoOptions, args, "demo"),
    "tune": lambda args: parse(TuneOptions, args, "tune"),
    "reproduce": lambda args: parse(ReproduceOptions, args, "reproduce"),
    "presets": lambda args: parse(PresetsOptions, args, "presets"),
    "prepare": lambda args: parse(PrepareOptions, args, "prepare"),
    "doctor": lambda args: parse(DoctorOptions, args, "doctor"),
}
assert PARSERS.keys() == COMMANDS.keys()


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block, without comments and assignments before it."""
    lines = text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line.replace("Ctrl-\\", ""), comments=True) for line in lines]
    return [_without_assignments(words) for words in split if words]


def _without_assignments(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    return words


def check(text: str) -> None:
    """Raise for a block that bash can't read, or a command that its program would refuse."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True)
    for words in commands(text):
        if words:
            _check(words)


def _check(words: list[str]) -> None:
    program, args = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "ugts":
        _check_ugts(args)
    elif program in ("torchrun", "ugts-launch"):
        _check_launch(args)
    elif program == "make":
        _check_make(args)
    elif program == "python":
        _check_python(args)
    elif program == "sbatch":
        _check_sbatch(args)
    elif program.startswith("cluster/"):
        assert (ROOT / program).is_file(), program
    else:
        assert program in FOREIGN, f"{program}: a program that the documentation's tests do not know"


def _check_ugts(args: list[str]) -> None:
    if args[0] == FLAG:
        assert completion_script(args[1 : args.index(">")])
    elif args != ["--version"] and args[1:] not in (["--help"], ["--help-all"]):
        PARSERS[args[0]](args[1:])
    assert args[0] in (*COMMANDS, "--version", FLAG)


def _check_launch(args: list[str]) -> None:
    parsed = torchrun_parser().parse_args(args)
    if parsed.module:
        assert parsed.training_script == "ugts_dist"
        _check_ugts(parsed.training_script_args)
    else:
        _check_options(parsed.training_script, parsed.training_script_args)


def _check_make(args: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {arg for arg in args if "=" not in arg} <= set(targets), args


def _check_python(args: list[str]) -> None:
    if args[0] == "-m":
        path = args[1].replace(".", "/")
        package = (ROOT / path).is_dir()
        _check_options(f"{path}/__main__.py" if package else f"{path}.py", args[2:])
    else:
        _check_options(args[0], args[1:])


def _check_options(script: str, args: list[str]) -> None:
    """The script exists, and it, or a module that it imports from its folder, knows every option."""
    text = (ROOT / script).read_text()
    near = [(ROOT / script).parent / f"{name}.py" for name in re.findall(r"^from ([\w.]+) import", text, re.MULTILINE)]
    text += "".join(path.read_text() for path in near if path.is_file())
    for option in (arg.partition("=")[0] for arg in args if arg.startswith("--")):
        assert f'"{option}"' in text or re.search(rf"^ +{option[2:].replace('-', '_')}: ", text, re.MULTILINE), option


def _check_sbatch(args: list[str]) -> None:
    number = next(k for k, arg in enumerate(args) if arg.endswith(".sbatch"))
    assert (ROOT / args[number]).is_file(), args[number]
    PARSERS["tune" if "ray" in args[number] else "train"](args[number + 1 :])
