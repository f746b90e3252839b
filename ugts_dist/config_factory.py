"""An own network in the section [model]: the function that builds it, and its arguments."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import tyro

from ugts_dist.config_limits import MAX_DEPTH, require, require_count
from ugts_dist.errors import InputError

Plain = int | float | bool | str
FACTORY, ARGS = "model.factory", "model.args"
_OF_OWN_NETWORKS = ("factory", "args", "depth")
_KINDS = "a number, a text, true or false"
_INTEGERS = range(-(2**63), 2**63)  # those that TOML and PyTorch have
_SIGNS = {"true": True, "True": True, "false": False, "False": False}


def parse_args(texts: Sequence[str]) -> dict[str, Plain]:
    """Arguments from the command line: ["width=64", "norm=batch"] are {"width": 64, "norm": "batch"}.

    Raises ValueError for a text without a name.
    """
    args: dict[str, Plain] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--{ARGS} is {text}, allowed is NAME=VALUE")
        args[name] = parse_value(value)
    return args


def parse_value(text: str) -> Plain:
    """A number, `true` or `false`; any other text stays a text."""
    if text in _SIGNS:
        return _SIGNS[text]
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        value = float(text)
        return value if math.isfinite(value) else text
    return text


def check_args(args: Any) -> dict[str, Plain]:
    """The table [model.args] if its values are plain. Raises InputError otherwise."""
    if not isinstance(args, Mapping):
        raise InputError(f"{ARGS} is {args!r:.80}, allowed is a table [{ARGS}]")
    for name, value in args.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{ARGS} has {name!r:.80}, allowed are the names of arguments")
        if type(value) is int and value not in _INTEGERS:
            found = f"a whole number of {value.bit_length()} bits"
            raise InputError(f"{ARGS}.{name} is {found}, allowed is -2**63 to 2**63 - 1")
        plain = type(value) in (int, bool, str) or (type(value) is float and math.isfinite(value))
        require(plain, f"{ARGS}.{name}", f"{value!r:.80}", _KINDS)
    return dict(args)


def check_factory(factory: str) -> None:
    """Raise InputError unless the text is `package.module:function` or `path/to/file.py:function`."""
    place, _, name = factory.rpartition(":")
    is_module = all(part.isidentifier() for part in place.split("."))
    fits = name.isidentifier() and (is_module or place.endswith(".py"))
    require(fits, FACTORY, factory, "MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION")


def check_own(model: Mapping[str, Any], built_in: Mapping[str, Any]) -> None:
    """Raise InputError for fields of [model] that an own network can't have; `built_in` are the defaults."""
    check_factory(model["factory"])
    require_count("model.depth", model["depth"], 0, MAX_DEPTH)
    for name, default in built_in.items():
        allowed = f"{default} with model.factory, whose arguments are model.args"
        require(model[name] == default or name in _OF_OWN_NETWORKS, f"model.{name}", model[name], allowed)


def is_file(factory: str) -> bool:
    """Whether the factory is in a file that is named by its path."""
    return factory.rpartition(":")[0].endswith(".py")


def absolute(factory: str) -> str:
    """The factory with the absolute path of its file; as it is if it is in a module, and if there is none."""
    return os.path.abspath(os.path.expanduser(factory)) if is_file(factory) else factory


def without_folders(factory: str) -> str:
    """The factory with the bare name of its file; as it is if it is in a module."""
    return os.path.basename(factory) if is_file(factory) else factory


def title(factory: str) -> str:
    """A short name for folders and tables: "nets.py:build" is "nets-build"."""
    place, _, name = without_folders(factory).rpartition(":")
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{place.removesuffix('.py').rpartition('.')[2]}-{name}")


Args = Annotated[
    dict[str, Plain],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE [NAME=VALUE ...]]",
        instance_from_str=lambda texts: parse_args(texts),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda args: [f"{name}={value}" for name, value in args.items()],
    ),
]
"""Arguments of a factory by name."""
