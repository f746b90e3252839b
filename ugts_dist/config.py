"""The configuration of a run: one dataclass per component, checked on construction, TOML in and out.

Nothing heavy is imported here, so that `--help` answers at once. The text under each field is its help.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from ugts_dist.errors import InputError

Method = Literal["ugts", "edge-popup", "no-global", "no-gradual", "dense"]
Scope = Literal["global", "layer"]
Ramp = Literal["linear", "cubic", "constant"]

MAX_SEED = 2**63 - 1

_WITHOUT_EFFECT = (
    "data.root",
    "batch.placement",
    "batch.threads",
    "run.device",
    "run.folder",
    "run.spill",
    "run.timeout",
)

METHODS: dict[str, tuple[Scope, Ramp]] = {
    "ugts": ("global", "linear"),
    "no-global": ("layer", "linear"),
    "no-gradual": ("global", "constant"),
    "edge-popup": ("layer", "constant"),
    "dense": ("global", "constant"),
}
"""A method is a preset of two parts: the scope of the threshold and the schedule of the sparsity (Table 5)."""


@dataclass(frozen=True)
class DataConfig:
    """Which graph."""

    name: str = "digits"
    """Dataset: digits (embedded), cora, citeseer, pubmed, texas, cornell, wisconsin, amazon-computers, amazon-photo,
    coauthor-cs, coauthor-physics; ogbg-molbace, ogbg-molhiv (labels of whole graphs); what `ugts prepare` wrote, such
    as ogbn-arxiv or products-like; or a store's path."""
    root: str = ""
    """Folder with the raw files, only read. Empty: $UGTS_DATA, or else a download into ~/.cache/ugts_dist/data."""
    split: int = 0
    """Which split: 0 to 9 for texas, cornell and wisconsin, the seed of the split for graphs without an official
    one; 0 for public splits."""
    row_normalize: bool = True
    """Divide each node's features by their sum, where that is above 1 (PyG's NormalizeFeatures). Of a prepared
    graph, features stay as they are."""

    def __post_init__(self) -> None:
        _require(0 <= self.split <= MAX_SEED, "data.split", self.split, f"0 to {MAX_SEED}")


@dataclass(frozen=True)
class ModelConfig:
    """Which network; without biases."""

    arch: Literal["gcn", "gin", "gin-paper", "gat", "sage"] = "gcn"
    """Kind of layer; gin-paper is the paper's own GIN (mean aggregation, no MLP, ReLU at the end)."""
    depth: int = 2
    """Number of convolutions, input and output ones included."""
    width: int = 256
    """Width between the layers (GAT: of all heads together)."""
    heads: int = 1
    """Attention heads of GAT; the last layer averages them."""
    dropout: float = 0.0
    """Dropout of each layer's input while training."""

    def __post_init__(self) -> None:
        _require(self.depth >= 1, "model.depth", self.depth, "1 or more")
        _require(self.width >= 1, "model.width", self.width, "1 or more")
        _require(self.heads >= 1, "model.heads", self.heads, "1 or more")
        _require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "[0, 1)")
        if self.arch == "gat":
            _require(
                self.width % self.heads == 0,
                "model.heads",
                self.heads,
                f"a divisor of the width {self.width}",
            )
        if self.arch == "gin-paper":
            _require(self.depth >= 2, "model.depth", self.depth, "2 or more for gin-paper")


@dataclass(frozen=True)
class SupermaskConfig:
    """How the ticket is searched."""

    method: Method = "ugts"
    """ugts: one global threshold, gradual sparsity. edge-popup: a threshold a layer, full sparsity at once.
    no-global, no-gradual: the two ablations between them. dense: no mask, the weights are trained."""
    sparsity: float = 0.9
    """Target: the fraction of weights masked to zero."""
    initial_sparsity: float = 0.0
    """Where a rising schedule begins; that of the other run where this one starts from its scores."""
    scope: Literal["auto", "global", "layer"] = "auto"
    """Threshold over all layers or one a layer; auto: the method's own."""
    schedule: Literal["auto", "linear", "cubic", "constant"] = "auto"
    """How the sparsity rises; auto: the method's own."""
    ramp: float = 0.5
    """Part of the epochs over which the sparsity rises (0.5: it reaches its target half-way, as in the paper)."""
    seed: int = -1
    """Seed of the frozen weights and first scores; -1: the run's seed."""
    weight_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "uniform"] = "signed-constant"
    """Distribution of the frozen weights."""
    score_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "uniform"] = "kaiming-uniform"
    """Distribution of the first scores."""
    score_scale: float = 1.0
    """The first scores are multiplied by this."""
    rescale: bool = True
    """Multiply what is kept of a layer by density^-1/2, so that its outputs keep their scale as weights vanish."""
    ranking: Literal["score", "magnitude"] = "score"
    """What is compared with the threshold: the score, or its magnitude as in the original Edge-Popup."""
    calibrate: bool = True
    """Scale each layer's frozen weights once, so that its outputs start with root mean square 1."""
    calibrate_at: float = 0.0
    """Sparsity at which the outputs are measured."""
    output_rms: float = 0.1
    """Root mean square of the logits after calibration."""
    attention_rms: float = 0.01
    """Root mean square of attention logits after calibration; small, as random attention is nothing but noise."""

    def __post_init__(self) -> None:
        _require(0.0 <= self.sparsity < 1.0, "supermask.sparsity", self.sparsity, "[0, 1)")
        _require(0.0 <= self.initial_sparsity < 1.0, "supermask.initial_sparsity", self.initial_sparsity, "[0, 1)")
        _require(0.0 <= self.calibrate_at < 1.0, "supermask.calibrate_at", self.calibrate_at, "[0, 1)")
        _require(0.0 <= self.ramp <= 1.0, "supermask.ramp", self.ramp, "[0, 1]")
        _require(0 < self.score_scale < math.inf, "supermask.score_scale", self.score_scale, "above 0")
        _require(0 < self.attention_rms < math.inf, "supermask.attention_rms", self.attention_rms, "above 0")
        _require(0 < self.output_rms < math.inf, "supermask.output_rms", self.output_rms, "above 0")
        _require(-1 <= self.seed <= MAX_SEED, "supermask.seed", self.seed, f"0 to {MAX_SEED}, or -1")

    @property
    def parts(self) -> tuple[Scope, Ramp]:
        """Scope and schedule, the method's own where they are `auto`."""
        scope, schedule = METHODS[self.method]
        return (
            scope if self.scope == "auto" else self.scope,
            schedule if self.schedule == "auto" else self.schedule,
        )


@dataclass(frozen=True)
class OptimConfig:
    """How the scores are trained (or the weights, with method dense). The optimiser is Adam."""

    lr: float = 0.01
    """Learning rate."""
    weight_decay: float = 0.0
    """L2 penalty."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the epochs; cosine: down to 0 at the last."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of features and layers; scores, thresholds, loss and optimiser are always float32."""
    compress: bool = False
    """Average the gradients over ranks in bfloat16: half the traffic."""

    def __post_init__(self) -> None:
        _require(0 < self.lr < math.inf, "optim.lr", self.lr, "above 0")
        _require(0 <= self.weight_decay < math.inf, "optim.weight_decay", self.weight_decay, "0 or more")


@dataclass(frozen=True)
class BatchConfig:
    """Full batch or sampled mini-batches."""

    size: int = 0
    """Seed nodes a step, over all ranks together (graphs, where they have the labels); 0: all in each step."""
    fan_out: tuple[int, ...] = ()
    """In-neighbours drawn for each node, seed nodes' first, one number a layer; -1: all."""
    parts: int = 1
    """Parts that a rank's seed nodes of a step are cut into, computed one by one: less memory, same gradient."""
    backend: Literal["ours", "pyg-lib", "torch-sparse"] = "ours"
    """What samples. With ours, batches depend on neither ranks nor threads; the others draw from the process's
    generator and have to be installed."""
    placement: Literal["auto", "host", "device"] = "auto"
    """Where graph and features lie: host memory, one copy a machine, or each rank's GPU. auto: the GPU if they fit."""
    threads: int = -1
    """Threads that sample ahead while the last batch trains; 0: none, -1: as many as cores are spare, up to two."""
    norm: Literal["full", "sampled"] = "full"
    """Degrees of GCN's and GIN's sums in a sampled batch: those of the whole graph, which makes the sum unbiased, or
    those within the batch, as in PyG."""

    def __post_init__(self) -> None:
        _require(self.size >= 0, "batch.size", self.size, "0 or more")
        _require(self.parts >= 1, "batch.parts", self.parts, "1 or more")
        _require(self.threads >= -1, "batch.threads", self.threads, "0 or more, or -1")
        _require(all(k == -1 or k > 0 for k in self.fan_out), "batch.fan_out", list(self.fan_out), "above 0, or -1")


@dataclass(frozen=True)
class RunConfig:
    """One run."""

    seed: int = 0
    """Determines weights, scores, batches and dropout."""
    epochs: int = 400
    """Passes over the training nodes."""
    evaluate_every: int = 1
    """Epochs between two evaluations; the last epoch is always evaluated."""
    select: Literal["after-ramp", "any"] = "after-ramp"
    """Which epochs may be the best one, by validation accuracy: those at the target sparsity, or any."""
    folder: str = ""
    """Where the run is written: a new folder, or that of the same run, which goes on. Empty: a new one under runs/."""
    init_scores: str = ""
    """Start from the scores of another run with the same frozen weights: its folder, or one of its checkpoints."""
    spill: str = ""
    """Folder whose disk holds the layers' outputs of all nodes during an evaluation. Empty: they are kept in memory."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: the GPU of the rank, where there is one."""
    timeout: float = 600.0
    """Seconds after which ranks give up waiting for one that does not answer, and name it."""

    def __post_init__(self) -> None:
        _require(0 < self.timeout < math.inf, "run.timeout", self.timeout, "above 0")
        _require(0 <= self.seed <= MAX_SEED, "run.seed", self.seed, f"0 to {MAX_SEED}")
        _require(self.epochs >= 1, "run.epochs", self.epochs, "1 or more")
        _require(self.evaluate_every >= 1, "run.evaluate_every", self.evaluate_every, "1 or more")


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run that is under way, so that it can go on. None of it changes the result."""

    every_minutes: float = 5.0
    """Minutes between two checkpoints; 0: by steps alone."""
    every_steps: int = 0
    """Steps between two checkpoints; 0: by time alone."""
    at_best: bool = True
    """Also at each new best epoch, as often as that takes less than 2 % of the time."""
    keep_last: int = 2
    """How many are kept, beside the best epoch's; 0: none is written."""

    def __post_init__(self) -> None:
        _require(0 <= self.every_minutes < math.inf, "checkpoint.every_minutes", self.every_minutes, "0 or more")
        _require(self.every_steps >= 0, "checkpoint.every_steps", self.every_steps, "0 or more")
        _require(self.keep_last >= 0, "checkpoint.keep_last", self.keep_last, "0 or more")


@dataclass(frozen=True)
class LogConfig:
    """What is shown and kept."""

    progress: bool = True
    """Progress bar on the terminal."""
    tensorboard: bool = True
    """TensorBoard events in the run folder."""


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    supermask: SupermaskConfig = field(default_factory=SupermaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    run: RunConfig = field(default_factory=RunConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        fan_out = list(self.batch.fan_out)
        if self.batch.size:
            allowed = f"one number a layer ({self.model.depth}), as batch.size is {self.batch.size}"
            _require(len(fan_out) == self.model.depth, "batch.fan_out", fan_out, allowed)
        else:
            _require(not fan_out, "batch.fan_out", fan_out, "nothing, as batch.size is 0 (full batch)")
            _require(self.batch.parts == 1, "batch.parts", self.batch.parts, "1, as batch.size is 0 (full batch)")

        if self.run.select == "after-ramp" and self.supermask.method != "dense":
            allowed = f"a ramp of fewer epochs than run.epochs ({self.run.epochs}), as run.select is after-ramp"
            _require(self.ramp_epochs < self.run.epochs, "supermask.ramp", self.supermask.ramp, allowed)

    @property
    def label(self) -> str:
        """Method and sparsity, for people."""
        method = self.supermask.method
        return method if method == "dense" else f"{method}-{self.supermask.sparsity:g}"

    @property
    def data_name(self) -> str:
        """The dataset, also of a store that was given by its path."""
        return self.data.name.rstrip("/").rpartition("/")[2]

    @property
    def weight_seed(self) -> int:
        return self.run.seed if self.supermask.seed < 0 else self.supermask.seed

    @property
    def ramp_epochs(self) -> int:
        """Adjustments until the sparsity reaches its target (n of Eq. 5)."""
        return 0 if self.supermask.parts[1] == "constant" else round(self.supermask.ramp * self.run.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as TOML and JSON hold them."""
        plain = dataclasses.asdict(self)
        plain["batch"]["fan_out"] = list(self.batch.fan_out)
        return plain

    def determining(self) -> dict[str, Any]:
        """The fields that determine a run's result, as {"section.field": value}.

        Not among them: its folders, where it computes, what it logs and keeps, where the data's files lie.
        """
        return {
            f"{section}.{name}": value
            for section, fields in self.to_dict().items()
            for name, value in fields.items()
            if section not in ("log", "checkpoint") and f"{section}.{name}" not in _WITHOUT_EFFECT
        }

    def portable(self) -> dict[str, Any]:
        """The same without the folders of this machine: what a saved network tells of its run."""
        folders = dict.fromkeys(("data.root", "run.folder", "run.spill", "run.init_scores"), "")
        return self.replace({"data.name": self.data_name, **folders}).to_dict()

    def to_toml(self) -> str:
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Config:
        """From nested plain values; `source` is named in an error. Missing fields get their defaults."""
        sections = {f.name: get_type_hints(cls)[f.name] for f in dataclasses.fields(cls)}
        _refuse_unknown(values, sections, source, "section")
        return cls(**{name: _section(sections[name], name, values[name], source) for name in values})

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with some fields changed: {"supermask.sparsity": 0.5}."""
        values = self.to_dict()
        for key, value in changes.items():
            section, _, name = key.partition(".")
            values.setdefault(section, {})[name] = value
        return Config.from_dict(values, "configuration")


def load_toml(path: str | Path) -> Config:
    """A configuration file. Raises InputError for one that is missing, not TOML, or wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return Config.from_dict(tomllib.loads(text), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a configuration ({error})") from None


def preset_names() -> list[str]:
    """The presets that come with the program."""
    folder = resources.files("ugts_dist") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_preset(name: str) -> Config:
    """A configuration by name. Raises InputError for an unknown one."""
    names = preset_names()
    if name not in names:
        raise InputError(f"--preset {name}: unknown{_hint(name, names)}; allowed are {', '.join(names)}")
    text = (resources.files("ugts_dist") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return Config.from_dict(tomllib.loads(text), f"preset {name}")


def _section(cls: type, name: str, values: Any, source: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{source}: {name} is {values!r}, allowed is a section [{name}]")
    hints = get_type_hints(cls)
    _refuse_unknown(values, hints, source, f"field in [{name}]")
    return cls(**{key: _typed(value, hints[key], f"{source}: {name}.{key}") for key, value in values.items()})


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value if it has the annotated type; whole numbers pass as floats, lists as tuples."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where} is {value!r}, allowed are {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(type(item) is int for item in value):
            raise InputError(f"{where} is {value!r}, allowed is a list of whole numbers")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where} is {value!r}, allowed is {hint.__name__}")
    return value


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], source: str, what: str) -> None:
    for name in values:
        if name not in known:
            raise InputError(f"{source}: unknown {what} {name!r}{_hint(name, known)}; allowed are {', '.join(known)}")


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise InputError(f"{name} is {value}, allowed is {allowed}")
