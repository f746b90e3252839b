"""Command-line arguments, parsed by tyro, whose boxed errors become one line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from ugts_dist.config import Config, flat, load_preset, load_toml
from ugts_dist.config_factory import ARGS, parse_value
from ugts_dist.config_features import FEATURES, SWITCHES, without_switches
from ugts_dist.config_names import LISTS, RENAMED, current_name, note_old_names, refuse_both_names
from ugts_dist.errors import InputError, did_you_mean, refuse_unknown
from ugts_dist.help_text import ALL, EVERYDAY, description, registry, wrapped
from ugts_dist.terminal import escaped

Arguments = TypeVar("Arguments")

# Patterns of tyro's messages, and their replacements. The last one keeps the message of our own checks.
_MESSAGES = (
    (r"Error parsing (--\S+): could not convert string to float: (.*)", r"\1 is \2, allowed is a number"),
    (r"Error parsing (--\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 is \2, allowed is a whole number"),
    (
        r"Error parsing (--\S+): Exceeds the limit .*",
        r"\1 is too large, allowed is a whole number of 64 bits",
    ),
    (r"Error parsing (--\S+): Could not find valid parse for arguments: (.*)", r"\1 is \2, allowed are numbers"),
    (r"invalid choice (.*) for argument '(--\S+)'\. Expected one of \((.*?),?\)\.?", r"\2 is \1, allowed are \3"),
    (r"Missing value for argument '(--\S+)'.*", r"\1: a value is missing"),
    (r"Error parsing [^:]*: (.*)", r"\1"),
)


@dataclass(frozen=True)
class TrainArguments(Config):
    """Find a ticket in one graph: the weights stay random, their scores are trained, and one threshold masks them.

    Alone: `ugts train --preset cora-gcn`. On several ranks: `torchrun --standalone --nproc_per_node=2 -m ugts_dist
    train --preset digits`. A preset or a file gives the configuration; each further option changes one field of it.

    On any other graph: `ugts train --data.name mygraph`. Without a preset or a file, rules choose settings that fit
    the graph, print their reasons, and write them to config.toml. Options that you give stay as they are.

    `ugts train RUN_FOLDER` resumes a run that was stopped or killed, from its newest valid checkpoint.

    `ugts train --help` explains the fields of everyday use, `ugts train --help-all` every field. The option
    `--batch.fan-out 10 5` is the line `fan_out = [10, 5]` below `[batch]` in a file, and `--log.no-progress` is
    `progress = false` below `[log]`.
    """

    preset: str = ""
    """Start from a configuration by name, such as cora-gcn. `ugts presets` lists all."""
    config: str = ""
    """Start from a configuration file (TOML), such as the config.toml of an earlier run."""
    resume: str = "auto"
    """auto: resume the run in run.folder from its newest valid checkpoint; without run.folder, the newest unfinished
    run of the same configuration and data under runs/. never: always a new folder. Otherwise the folder of a run, or of
    one of its checkpoints, from which a new folder resumes; without a preset or file with that run's settings."""
    resume_override: Annotated[tuple[str, ...], tyro.conf.arg(name="resume.override")] = ()
    """Fields that may differ from those of the resumed run, such as run.epochs; data for its data."""
    init_scores: str = ""
    """The same as --run.init-scores."""
    rules: bool = True
    """Without a preset or a file: choose settings that fit the graph. Otherwise the defaults shown here are used."""
    given: tyro.conf.Suppress[tyro.conf.Fixed[tuple[str, ...]]] = ()
    """The fields given on the command line: "section.field"."""

    @property
    def fits_data(self) -> bool:
        """Whether rules choose the settings that are not given, from properties of the data."""
        return self.rules and not (self.preset or self.config) and self.resume in ("auto", "never")

    @property
    def overridden(self) -> tuple[str, ...]:
        """The fields of `--resume.override`, under their current names."""
        note_old_names(self.resume_override)
        return tuple(map(current_name, self.resume_override))

    def run_config(self) -> Config:
        """The configuration alone."""
        config = Config(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Config)})
        return config.replace({"run.init_scores": self.init_scores}) if self.init_scores else config


def parse_train(args: Sequence[str]) -> TrainArguments:
    """Read the run folder, preset or file first, since it gives the defaults of all other options.

    Raises InputError for wrong arguments. Old names of fields are read.
    """
    args, table = _split_table(_with_current_names(args))
    if args and not args[0].startswith("-"):
        of_run = config_of_run(Path(args[0])).replace(table)
        options = _with_features(args[1:], of_run.data.features)
        return parse(TrainArguments, options, "train", TrainArguments(**vars(of_run), rules=False))
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default="")
    first.add_argument("--config", default="")
    first.add_argument("--resume", default="auto")
    first.add_argument("--model.factory", dest="factory", default="")
    try:
        chosen, _ = first.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise InputError(f"{error.argument_name}: a value is missing") from None
    if chosen.preset and chosen.config:
        raise InputError("--preset and --config: only one of them is allowed")
    base = _base(chosen.preset, chosen.config, chosen.resume)
    if chosen.factory and not base.model.factory:  # the network of a preset is replaced as a whole
        base = Config.from_dict(base.to_dict() | {"model": {"factory": chosen.factory}}, "")
    base = base.replace(table)
    args = _with_features(args, base.data.features)
    shown = _escaped(base) if _asks_for_help(args) else base
    return parse(TrainArguments, args, "train", TrainArguments(**vars(shown), given=_given(args)))


def _base(preset: str, config: str, resume: str) -> Config:
    """The configuration that options change: a preset, a file, or the settings of the run that is resumed."""
    if preset:
        return load_preset(preset)
    if config:
        return load_toml(config)
    source = Path(resume)
    # The folder of a run, or of one of its checkpoints.
    for folder in (source, source.parent.parent):
        if resume not in ("auto", "never") and (folder / "config.toml").is_file():
            return load_toml(folder / "config.toml").replace({"run.folder": ""})
    return Config()


def _with_current_names(args: Sequence[str]) -> list[str]:
    """The arguments with the current names of renamed fields: `--batch.parts=2` is `--batch.micro-batches=2`."""
    names = [_listed_by(arg) or _field_of(arg) for arg in args]
    note_old_names(names)
    refuse_both_names(names)
    return [new for arg in args for new in _with_current_name(arg)]


def _with_current_name(arg: str) -> list[str]:
    """One argument; a switch that became a list is that list: `--log.no-tensorboard` is `--log.to` without a value."""
    name, switch = _field_of(arg), _listed_by(arg)
    if switch:
        return [f"--{current_name(switch)}", *LISTS[switch][name == switch]]
    return [f"--{RENAMED[name].replace('_', '-')}{arg[len(name) + 2 :]}"] if name in RENAMED else [arg]


def _listed_by(arg: str) -> str:
    """The field of a switch that became a list: "log.tensorboard" of `--log.no-tensorboard`; empty otherwise."""
    name = _field_of(arg).replace(".no_", ".")
    return name if name in LISTS else ""


def _with_features(args: Sequence[str], base: str) -> list[str]:
    """The arguments with `--data.features` in place of its old switches, such as `--data.no-row-normalize`.

    `base` is `data.features` without these arguments.
    """
    fields = [_field_of(arg) for arg in args]
    names = [field.replace(".no_", ".") for field in fields]
    switches = [name in SWITCHES and "=" not in arg for name, arg in zip(names, args, strict=True)]
    if not any(switches):
        return list(args)
    note_old_names(names)
    given = {name: name == field for name, field in zip(names, fields, strict=True) if name in (*SWITCHES, FEATURES)}
    features = without_switches(given, base)[FEATURES]
    return [*(arg for arg, old in zip(args, switches, strict=True) if not old), f"--{FEATURES}={features}"]


def _split_table(args: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The other arguments, and the fields of `--model.args.width 64`: {"model.args.width": 64}."""
    others: list[str] = []
    fields: dict[str, Any] = {}
    rest = iter(args)
    for arg in rest:
        if not arg.startswith(f"--{ARGS}."):
            others.append(arg)
            continue
        name, equals, value = arg.removeprefix("--").partition("=")
        value = value if equals else next(rest, "--")
        if value.startswith("--"):
            raise InputError(f"--{name}: a value is missing")
        fields[f"{ARGS}.{name.removeprefix(f'{ARGS}.').replace('-', '_')}"] = parse_value(value)
    if fields and f"--{ARGS}" in others:
        raise InputError(f"--{ARGS} and --{next(iter(fields))}: only one of them is allowed")
    return others, fields


def _field_of(arg: str) -> str:
    """The field of an option: "model.width" of `--model.width=8`; empty for any other argument."""
    return arg[2:].partition("=")[0].replace("-", "_") if arg.startswith("--") else ""


def _given(args: Sequence[str]) -> tuple[str, ...]:
    """The fields that the arguments give: `--model.width=8` and `--log.no-progress` give one each."""
    return tuple(name.replace(".no_", ".") for name in map(_field_of, args) if "." in name)


def _asks_for_help(args: Sequence[str]) -> bool:
    return not {"-h", "--help", ALL}.isdisjoint(args)


def _escaped(config: Config) -> Config:
    """The configuration for the help, in which texts are escaped."""
    fields = flat(config.to_dict())
    return config.replace({name: escaped(value) for name, value in fields.items() if isinstance(value, str)})


def config_of_run(folder: Path) -> Config:
    """The configuration of a run that is resumed in its folder."""
    if not (folder / "config.toml").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.toml")
    return load_toml(folder / "config.toml").replace({"run.folder": str(folder)})


def parse(kind: type[Arguments], args: Sequence[str], command: str, default: Arguments | None = None) -> Arguments:
    """Parse with tyro, and convert its boxed errors into one line."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    if _asks_for_help(args):
        _show_help(kind, args, command, options)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), _wide():
            return tyro.cli(kind, prog=f"ugts {command}", args=list(args), **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    raise InputError(_one_line(complaint.getvalue(), args, command))


def _show_help(kind: type[Any], args: Sequence[str], command: str, options: Mapping[str, Any]) -> None:
    """Print the help of a command, and end."""
    subcommand = [arg for arg in args[:1] if not arg.startswith("-")] if kind is not TrainArguments else []
    fields = EVERYDAY if kind is TrainArguments and ALL not in args else ()
    with wrapped():
        tyro.cli(
            kind,
            prog=f"ugts {command}",
            description=description(kind),
            args=[*subcommand, "--help"],
            registry=registry(fields),
            **options,
        )


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """Make the box of an error so wide that no line is folded."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("COLUMNS", None)
        else:
            os.environ["COLUMNS"] = before


def parse_one_of(known: Collection[str], kind: type[Arguments], args: Sequence[str], command: str) -> Arguments:
    """Parse the arguments of a command with subcommands."""
    if not _asks_for_help(args[:1]):
        refuse_unknown(args[:1], known, f"unknown command {command}")
    return parse(kind, args, command)


def _one_line(box: str, args: Sequence[str], command: str) -> str:
    """The message in tyro's error box, in the words of our other messages."""
    # If the terminal's encoding lacks the characters of the box, it is drawn with spaces and hyphens.
    lines = [line.strip("│╰╯ ") for line in box.splitlines()[1:]]
    lines = [line for line in lines if line][0 if "│" in box else 1 :]
    rule = next((i for i, line in enumerate(lines) if set(line) <= {"-", "─"}), len(lines))
    message = " ".join(lines[:rule]).removesuffix(" (required)")
    if message.startswith("Unrecognized options: "):
        close = [line.split()[0].rstrip(",") for line in lines[rule + 1 :] if line.startswith("--")]
        return _unknown(message.removeprefix("Unrecognized options: ").split(", ")[0], close, args, command)
    for pattern, replacement in _MESSAGES:
        if found := re.fullmatch(pattern, message):
            return found.expand(replacement)
    return message


def _unknown(name: str, close: Sequence[str], args: Sequence[str], command: str) -> str:
    """The message about an unexpected argument; `close` are similar options."""
    if name.startswith("-"):
        meant = did_you_mean(name, close) or (f" (did you mean {close[0]}?)" if close else "")
        every = ALL if command == "train" else "--help"
        return f"unknown option {name}{meant}; `ugts {command} {every}` lists all"
    before = args[args.index(name) - 1] if name in args[1:] else ""
    if not before.startswith("--"):
        return f"unexpected argument {name!r}; `ugts {command} --help` lists what is allowed"
    section, dot, last = before.removeprefix("--").rpartition(".")
    return f"{before} takes no value, but {name!r} follows it; allowed are {before} and --{section}{dot}no-{last}"
