"""One case of the trials, and how a command is tried in this process."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tests.trials
from ugts_dist.cli import main

Try = Callable[[Path], str]


@dataclass(frozen=True)
class Case:
    """A case: `run` tries it in an empty folder, and returns what is seen.

    Attributes:
        topic: name of the module that has it.
        name: what is tried.
        expected: a regular expression that is found in what is seen.
    """

    topic: str
    name: str
    expected: str
    run: Try

    def seen(self, folder: Path) -> str:
        """What is seen, in a line; an exception that nobody expected as well."""
        try:
            seen = self.run(folder)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            seen = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return " ".join(seen.split())

    def holds(self, seen: str) -> bool:
        """Whether what is seen is as expected."""
        return re.search(self.expected, seen) is not None


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Exit code and the lines that a person sees first: those of the error, else those of the result."""
        text = (self.err if self.code else self.err + self.out).strip()
        return f"exit {self.code}: {text}"


def case(expected: str) -> Callable[[Try], Case]:
    """Make a case of a function, whose docstring says in one line what is tried."""

    def make(run: Try) -> Case:
        assert run.__doc__, f"{run.__name__} has no docstring"
        return Case(run.__module__.rpartition(".")[2], run.__doc__.strip().rstrip("."), expected, run)

    return make


def ugts(*arguments: str | Path) -> Outcome:
    """Run a command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def all_cases() -> Sequence[Case]:
    """The cases of every module of this package, by themselves or in lists, in the order of the files."""
    cases: list[Case] = []
    for module in pkgutil.iter_modules(tests.trials.__path__, "tests.trials."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                cases += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Case)]
    return cases
