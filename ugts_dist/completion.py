"""`ugts --tyro-print-completion SHELL`: the script that completes commands, options and their values in a shell.

tyro makes a script for one parser. Here this is one over all commands, because a shell knows only one script a program.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from tuning.options import TuneOptions
from ugts_dist.analysis.kinds import AnalyseOptions
from ugts_dist.arguments import TrainArguments
from ugts_dist.doctor.options import DoctorOptions
from ugts_dist.errors import InputError, refuse_unknown
from ugts_dist.experiments.options import DemoOptions, ReproduceOptions
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.help_text import registry
from ugts_dist.preset_list import PresetsOptions
from ugts_dist.report.options import ReportOptions, RunsOptions
from ugts_dist.tickets.options import EvaluateOptions, PredictOptions, TicketOptions

FLAG = "--tyro-print-completion"
SHELLS = ("bash", "zsh")
OPTIONS: dict[str, type[Any]] = {
    "train": TrainArguments,
    "evaluate": EvaluateOptions,
    "predict": PredictOptions,
    "ticket": TicketOptions,
    "analyse": AnalyseOptions,
    "report": ReportOptions,
    "runs": RunsOptions,
    "demo": DemoOptions,
    "tune": TuneOptions,
    "reproduce": ReproduceOptions,
    "presets": PresetsOptions,
    "prepare": PrepareOptions,
    "doctor": DoctorOptions,
}
# tyro's script offers nothing for an argument without a name, such as the folder of a run. These changes make the shell
# complete file names there.
_FILES = '"$completions" == "__TYRO_COMPLETE_FILES__"'
_CHANGES = (
    (_FILES, f'-z "$completions" || {_FILES}'),
    ('COMPREPLY=($(compgen -f -- "$cur"))', "COMPREPLY=()"),
    ("complete -F ", "complete -o default -F "),
)


def completion_script(args: Sequence[str]) -> str:
    """The script for the one shell in `args`. Raises InputError for anything else."""
    if len(args) != 1:
        raise InputError(f"{FLAG}: one shell is needed, allowed are {', '.join(SHELLS)}")
    refuse_unknown(args, SHELLS, f"{FLAG}: unknown shell")
    commands = [Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, kind in OPTIONS.items()]
    one_of_them: Any = Union[tuple(commands)]  # noqa: UP007
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(one_of_them, prog="ugts", args=[FLAG, *args], registry=registry())
    script = printed.getvalue()
    for was, now in _CHANGES:
        script = script.replace(was, now)
    return script
