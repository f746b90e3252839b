"""The configuration of a run: one dataclass per section, checked on construction, read from and written to TOML.

This module imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from ugts_dist import config_factory, config_names
from ugts_dist.config_batch import BatchConfig
from ugts_dist.config_factory import ARGS, FACTORY
from ugts_dist.config_limits import MAX_SEED, require
from ugts_dist.config_sections import (
    PLACE,
    CheckpointConfig,
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)
from ugts_dist.config_supermask import SupermaskConfig
from ugts_dist.config_task import TaskConfig
from ugts_dist.config_types import shown, typed
from ugts_dist.errors import InputError, did_you_mean, refuse_unknown
from ugts_dist.text_files import parse_toml, read_toml

_WITHOUT_EFFECT = (
    "data.root",
    "batch.cache_bytes",
    "batch.placement",
    "batch.threads",
    "optim.graph",
    "run.device",
    "run.folder",
    "run.spill",
    "run.timeout",
)
# Fields, as they are stored, added after FORMAT of `checkpointing.identity`. At these defaults a run's key leaves them
# out.
_LATER = {
    "data.standardize": False,
    "model.dropout_at": "every",
    "model.identity": 0.0,
    "supermask.input_sparsity": 0.0,
    "supermask.coats": 1,
    "supermask.signed": False,
    "supermask.pruned": 0.0,
    "supermask.locked": 0.0,
    "supermask.fold": False,
}
# Fields added after version 0.2.0. At these defaults keys and saved networks leave them out.
_NEW: dict[str, Any] = {
    FACTORY: "",
    ARGS: {},
    "data.edge_weights": "use",
    "batch.first_layer": "sampled",
    "batch.cache_bytes": -1,
    "optim.graph": "auto",
    "task.kind": "auto",
    "task.metric": "auto",
    "task.class_weight": "none",
    "task.loss": "mse",
    "task.valid_edges": 0.05,
    "task.test_edges": 0.1,
    "task.embedding": 64,
    "log.project": "ugts_dist",
}
# Removed fields that are still read, with the only accepted value: the one without effect.
_REMOVED = {"optim.average": 0}


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    supermask: SupermaskConfig = field(default_factory=SupermaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    run: RunConfig = field(default_factory=RunConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(Config):
            for name, value in vars(getattr(self, section.name)).items():
                _refuse_unusable(f"{section.name}.{name}", value)
        self.batch.require_fit(self.model)
        if self.model.norm == "pairnorm":
            allowed = "1, as the statistics of model.norm pairnorm are those of a whole batch"
            require(self.batch.micro_batches == 1, "batch.micro_batches", self.batch.micro_batches, allowed)
        if self.model.depth == 1 and self.model.skip == "none" and not self.model.factory:
            allowed = "0 for model.depth 1, which has no other layer"
            require(
                self.supermask.input_sparsity == 0, "supermask.input_sparsity", self.supermask.input_sparsity, allowed
            )

        if self.run.select == "after-ramp" and self.supermask.masks:
            allowed = f"a ramp of fewer epochs than run.epochs ({self.run.epochs}), as run.select is after-ramp"
            require(self.ramp_epochs < self.run.epochs, "supermask.ramp", self.supermask.ramp, allowed)

    @property
    def label(self) -> str:
        """Method and sparsity, to show."""
        method = self.supermask.method
        return f"{method}-{self.supermask.sparsity:g}" if self.supermask.masks else method

    @property
    def data_name(self) -> str:
        """The dataset's name; for the path of a store, its last part."""
        return self.data.name.rstrip("/").rpartition("/")[2]

    @property
    def weight_seed(self) -> int:
        return self.run.seed if self.supermask.seed < 0 else self.supermask.seed

    @property
    def ramp_epochs(self) -> int:
        """Adjustments until the sparsity reaches its target (n of Eq. 5)."""
        return 0 if self.supermask.effective_schedule == "constant" else round(self.supermask.ramp * self.run.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for TOML and JSON."""
        plain = dataclasses.asdict(self)
        plain["batch"]["fan_out"], plain["log"]["to"] = list(self.batch.fan_out), list(self.log.to)
        return plain

    def determining(self) -> dict[str, Any]:
        """The fields that determine a run's result, {"section.field": value}, as its key hashes them.

        Folders, device, logs and checkpoints are not among them. Renamed fields have their old names, so that a run
        keeps its key.
        """
        fields = config_names.stored_fields(self.with_effect())
        return {name: value for name, value in fields.items() if (name, value) not in (_LATER | _NEW).items()}

    def changes(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """The fields that determine a result and differ: {"section.field": (own value, other value)}."""
        ours, theirs = self.with_effect(), other.with_effect()
        values = {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
        return {name: (own, their) for name, (own, their) in values.items() if own != their}

    def with_effect(self) -> dict[str, Any]:
        """Every field that can change a result: {"section.field": value}."""
        return {
            name: value
            for name, value in flat(self.to_dict()).items()
            if not name.startswith(("log.", "checkpoint.")) and name not in _WITHOUT_EFFECT
        }

    def portable(self) -> dict[str, Any]:
        """What a saved network holds of its run: no paths of this machine, and renamed fields under their old names."""
        factory = config_factory.without_folders(self.model.factory)
        # The project is of the user's account, cache and CUDA graphs of this machine: of no use to a network.
        names = {"data.name": self.data_name, FACTORY: factory}
        names |= {name: _NEW[name] for name in ("log.project", "batch.cache_bytes", "optim.graph")}
        if self.batch.placement == "sharded":  # which says something of the machines that there were
            names["batch.placement"] = "auto"
        held = self.without_places().replace(names).to_dict()
        sections = {
            section: {name: value for name, value in own.items() if (f"{section}.{name}", value) not in _NEW.items()}
            for section, own in held.items()
        }
        return config_names.stored_sections({section: own for section, own in sections.items() if own})

    def without_places(self) -> Config:
        """A copy with every field of type `Place` empty. `data.name` may still be a path."""
        return self.replace(dict.fromkeys(place_fields(), ""))

    def to_toml(self) -> str:
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Config:
        """A configuration from nested plain values. Missing fields get their defaults; old names of fields are read.

        Raises InputError, which names `source` if that is not empty.
        """
        sections = _types(cls)
        try:
            values = config_names.current_sections(values)
            refuse_unknown(values, sections, "unknown section")
            return cls(**{name: _section(sections[name], name, values[name]) for name in values})
        except InputError as error:
            raise InputError(f"{source}: {error}" if source else str(error)) from None

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with some fields changed: {"supermask.sparsity": 0.5}. Old names of fields are read."""
        values = self.to_dict()
        for key, value in config_names.current_fields(changes, self.data.features).items():
            section, _, name = key.partition(".")
            own, _, argument = name.partition(".")
            if f"{section}.{own}" == ARGS and argument:
                values[section][own] = {**values[section][own], argument: value}
            else:
                values.setdefault(section, {})[name] = value
        return Config.from_dict(values, "")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names: `{"a": {"b": 1}}` is `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


@functools.cache
def place_fields() -> tuple[str, ...]:
    """The fields that hold a path on this machine: "section.field"."""
    return tuple(
        f"{section}.{name}"
        for section, kind in get_type_hints(Config).items()
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if PLACE in getattr(hint, "__metadata__", ())
    )


def load_toml(path: str | Path) -> Config:
    """A configuration file. Prints a note about each old name of a field.

    Raises InputError for a file that is missing, not TOML, or wrong.
    """
    values = read_toml(path, "a configuration")
    config = Config.from_dict(values, str(path))
    config_names.note_old_names(config_names.field_names(values))
    return config


def preset_names() -> list[str]:
    """The names of the built-in presets."""
    folder = resources.files("ugts_dist") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_preset(name: str) -> Config:
    """A preset by name. Raises InputError for an unknown name."""
    names = preset_names()
    if name not in names:
        raise InputError(f"--preset {name}: unknown{did_you_mean(name, names)}; allowed are {', '.join(names)}")
    return Config.from_dict(parse_toml(preset_text(name)), f"preset {name}")


def preset_text(name: str) -> str:
    """The file of a preset: TOML with comments."""
    return (resources.files("ugts_dist") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


# The type of each field; evaluated once, since a search makes hundreds of configurations.
_types: Callable[[type], dict[str, Any]] = functools.cache(get_type_hints)


def _section(cls: type, name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is {shown(values)}, allowed is a section [{name}]")
    hints = _types(cls)
    values = {key: value for key, value in values.items() if not _is_removed(f"{name}.{key}", value)}
    if name == "model" and values.get("factory"):
        values = {"depth": 0, **values}
    refuse_unknown(values, hints, f"unknown field in [{name}]")
    return cls(**{key: typed(value, hints[key], f"{name}.{key}") for key, value in values.items()})


def _is_removed(field: str, value: Any) -> bool:
    return field in _REMOVED and isinstance(value, int | float) and value == _REMOVED[field]


def _refuse_unusable(where: str, value: Any) -> None:
    """Raise InputError for whole numbers beyond 64 bits, and for texts with a NUL, which no file name can have."""
    for item in value if isinstance(value, tuple) else [value]:
        if type(item) is int:
            require(abs(item) <= MAX_SEED, where, shown(value), "a whole number of 64 bits")
        elif type(item) is str:
            require("\0" not in item, where, shown(value), "a text without NUL")
