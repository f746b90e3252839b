"""Loggers of a run, by their names in `log.to`. To add one: a file with its class, and its line here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from ugts_dist.errors import InputError
from ugts_dist.loggers.base import LoggedRun as LoggedRun
from ugts_dist.loggers.base import Logger as Logger
from ugts_dist.registry import load_classes

_CLASSES = {
    "tensorboard": "TensorBoard",
    "wandb": "WandB",
    "mlflow": "MLflow",
}
LOGGERS = tuple(_CLASSES)


def logger_classes(names: Iterable[str]) -> dict[str, type[Logger]]:
    """The class of each name. Their packages are not imported."""
    chosen = {name: _CLASSES[name] for name in names}
    return load_classes(__name__, Logger, chosen)  # type: ignore[type-abstract]


def refuse_missing(names: Iterable[str]) -> None:
    """Raise InputError for a logger whose package is not installed."""
    for name, found in logger_classes(names).items():
        if found.extra and not _is_installed(found.extra):
            raise InputError(f'log.to is {name}, which is not installed: pip install "ugts_dist[{found.extra}]"')


def _is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder of its name, such as wandb's own ./wandb, has no origin."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
