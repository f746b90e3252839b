"""Classes by name: to add one takes a file and a line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

Kind = TypeVar("Kind")


def load_classes(package: str, kind: type[Kind], names: Mapping[str, str]) -> dict[str, type[Kind]]:
    """The class of each name, from the file of that name in a package.

    Args:
        names: {name: class}; "edge-popup" is in the file `edge_popup.py`.

    Raises TypeError for a class that is not a subclass of `kind`.
    """
    return {name: _load(package, kind, name, label) for name, label in names.items()}


def _load(package: str, kind: type[Kind], name: str, label: str) -> type[Kind]:
    loaded = getattr(import_module(f"{package}.{name.replace('-', '_')}"), label)
    if not (isinstance(loaded, type) and issubclass(loaded, kind)):
        raise TypeError(f"{package}: {label} of {name!r} is {loaded!r}, allowed is a subclass of {kind.__name__}")
    return loaded
