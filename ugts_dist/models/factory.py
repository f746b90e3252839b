"""Own networks: the function that `model.factory` names, imported and called."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ugts_dist.config_factory import absolute, is_file
from ugts_dist.config_limits import MAX_COUNT
from ugts_dist.config_sections import ModelConfig
from ugts_dist.errors import InputError, first_line


@dataclass(frozen=True)
class Origin:
    """Where an own network comes from. Its ticket has it, as a note for the reader: nothing is imported because of it.

    Attributes:
        factory: the function, without folders.
        sha256: of its source file; empty if it has none.
        in_channels, out_channels: number of features and of classes.
        edge_weight: whether edges have weights.
        edge_attr: number of features of an edge.
    """

    factory: str
    sha256: str
    in_channels: int
    out_channels: int
    edge_weight: bool = False
    edge_attr: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Origin:
        """Inverse of `to_json`. Raises ValueError for other values."""
        try:
            origin = cls(**values)
        except TypeError as error:
            raise ValueError(f"network is {values!r:.80}") from error
        texts = all(isinstance(text, str) for text in (origin.factory, origin.sha256))
        counts = all(type(n) is int and 1 <= n <= MAX_COUNT for n in (origin.in_channels, origin.out_channels))
        edges = (
            type(origin.edge_weight) is bool and type(origin.edge_attr) is int and 0 <= origin.edge_attr <= MAX_COUNT
        )
        if not (texts and counts and edges):
            raise ValueError(f"network is {values!r:.80}")
        return origin


def build(model: ModelConfig, num_features: int, num_classes: int, seed: int) -> nn.Module:
    """The plain module that the factory returns, on the CPU. The seed is that of torch's generator for its weights.

    Raises InputError, in one line, for a factory that can't be imported, raises an error, or returns no module.
    """
    function = load_factory(model.factory)
    with torch.device("cpu"):
        torch.manual_seed(seed)
        try:
            module = function(in_channels=num_features, out_channels=num_classes, **model.args)
        except Exception as error:
            given = ", ".join(["in_channels", "out_channels", *model.args])
            raise _refused(model.factory, f"called with {given}, it raises {first_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise _refused(model.factory, f"it returns {type(module).__name__}, allowed is a torch.nn.Module")
    return module


def load_factory(factory: str) -> Callable[..., Any]:
    """The function. Raises InputError if its module or file can't be imported, or has no such function."""
    name = factory.rpartition(":")[2]
    function = getattr(_module(factory), name, None)
    if not callable(function):
        raise _refused(factory, f"it has no function {name}")
    loaded: Callable[..., Any] = function
    return loaded


def source_sha256(factory: str) -> str:
    """SHA-256 of the file that the function's module was read from; empty if it has none."""
    with suppress(OSError, TypeError):
        return hashlib.sha256(Path(inspect.getfile(_module(factory))).read_bytes()).hexdigest()
    return ""


def depth_of(model: ModelConfig, num_features: int, num_classes: int, seed: int) -> int:
    """`model.depth`, or the attribute `num_layers` of the network if that is 0. Raises InputError without it."""
    if model.depth:
        return model.depth
    depth = getattr(build(model, num_features, num_classes, seed), "num_layers", None)
    if type(depth) is not int or depth < 1:
        raise InputError(
            f"model.depth is 0, but the network of {model.factory} has no attribute num_layers; allowed is the number "
            "of its layers that read neighbours"
        )
    return depth


def _module(factory: str) -> ModuleType:
    place = absolute(factory).rpartition(":")[0]
    try:
        return _of_file(place) if is_file(factory) else _of_name(place)
    except Exception as error:
        raise _refused(factory, f"it can't be imported: {first_line(error)}") from error


def _of_name(name: str) -> ModuleType:
    with _importable(os.getcwd()):
        return importlib.import_module(name)


@functools.cache
def _of_file(path: str) -> ModuleType:
    """The module of a file, which may import other modules of its folder. It is read once in a process."""
    name = f"ugts_own_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their module up
    try:
        with _importable(os.path.dirname(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Search modules in the folder, too, after all other places."""
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _refused(factory: str, reason: str) -> InputError:
    return InputError(f"model.factory is {factory}: {reason}")
