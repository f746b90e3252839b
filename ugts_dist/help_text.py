"""What `--help` shows: each text as one paragraph, and of a configuration only the everyday fields unless all are asked
for.

tyro keeps the line breaks that a field's text has in the source, and does not wrap the description of a command.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator
from typing import Annotated, Any, TextIO, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from ugts_dist.config import Config

ALL = "--help-all"
EVERYDAY = (
    "preset",
    "config",
    "resume",
    "data.name",
    "data.root",
    "data.split",
    "data.features",
    "model.arch",
    "model.depth",
    "model.width",
    "model.dropout",
    "model.skip",
    "model.factory",
    "supermask.method",
    "supermask.sparsity",
    "task.kind",
    "task.metric",
    "optim.lr",
    "optim.weight_decay",
    "batch.size",
    "batch.fan_out",
    "run.seed",
    "run.epochs",
    "run.patience",
    "run.folder",
    "run.device",
)
"""The options of `ugts train` that its short help explains."""


def registry(everyday: Collection[str] = ()) -> ConstructorRegistry:
    """How tyro reads our dataclasses for a help: with joined texts, and only `everyday` fields if any are named."""
    rules = ConstructorRegistry()

    @rules.struct_rule
    def _(info: StructTypeInfo) -> StructConstructorSpec | None:
        # tyro wraps several commands into a dataclass of its own.
        if not dataclasses.is_dataclass(info.type) or info.type.__module__.startswith("tyro."):
            return None
        kind = info.type
        section = _sections().get(kind, "")
        hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
        fields = []
        for field in dataclasses.fields(kind):
            hint = hints[field.name]
            shown = not everyday or dataclasses.is_dataclass(hint) or f"{section}{field.name}" in everyday
            kept: Any = hint if shown else Annotated[hint, tyro.conf.Suppress]
            fields.append(StructFieldSpec(field.name, kept, _default(field, info.default), texts.get(field.name)))
        return StructConstructorSpec(kind, tuple(fields))

    return rules


def description(kind: type) -> str:
    """The paragraphs of a class's text, each as one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"))


@contextlib.contextmanager
def wrapped() -> Iterator[None]:
    """Wrap printed lines that are wider than the terminal, such as descriptions, and leave out repeated empty lines."""
    printed = _Captured(sys.stdout)
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        width = shutil.get_terminal_size().columns
        for is_empty, lines in itertools.groupby(printed.getvalue().splitlines(), lambda line: not line):
            for line in [""] if is_empty else lines:
                is_text = line[:1].isalnum() or line[:1] == "`"  # not of a box
                print(textwrap.fill(line, width, break_on_hyphens=False) if is_text else line)


class _Captured(io.StringIO):
    """What is printed, which has the colours and characters that the terminal shows."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._terminal.encoding


@functools.cache
def _sections() -> dict[Any, str]:
    """The prefix of a section's fields, by its class."""
    return {kind: f"{section}." for section, kind in get_type_hints(Config).items()}


@functools.cache
def _texts(kind: type) -> dict[str, str]:
    """The text below each field in the source, without its line breaks."""
    by_field: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = _class_body(base)
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(words))):
                        by_field[field.target.id] = " ".join(words.split())
    return by_field


def _class_body(kind: type) -> list[ast.stmt]:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    return node.body


def _default(field: dataclasses.Field[Any], instance: Any) -> Any:
    if dataclasses.is_dataclass(instance):
        return getattr(instance, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return tyro.MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()
