"""Values of a file, checked against the types of the configuration's fields."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from ugts_dist.config_factory import check_args
from ugts_dist.config_limits import MAX_COUNT
from ugts_dist.errors import InputError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_LISTS = {int: "whole numbers", float: "numbers", bool: "true and false", str: "texts"}


def typed(value: Any, hint: Any, where: str) -> Any:
    """The value if it has the annotated type. Whole numbers pass as floats, lists as tuples.

    Raises InputError, which names `where`.
    """
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where} is {shown(value)}, allowed are {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is dict:
        return check_args(value)
    if get_origin(hint) is tuple:
        return _typed_list(value, get_args(hint)[0], where)
    if hint is float and type(value) is int and abs(value) <= MAX_COUNT:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where} is {shown(value)}, allowed is {_KINDS[hint]}")
    return value


def _typed_list(value: Any, kind: Any, where: str) -> tuple[Any, ...]:
    """The items as a tuple, if all of them have the annotated type."""
    if isinstance(value, list | tuple):
        with suppress(InputError):
            return tuple(typed(item, kind, where) for item in value)
    allowed = ", ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else _LISTS[kind]
    raise InputError(f"{where} is {shown(value)}, allowed is a list of {allowed}")


def shown(value: object) -> str:
    """A value to show, cut if it is very long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
