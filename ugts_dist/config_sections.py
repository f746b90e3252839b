"""Most sections of a configuration, checked on construction; the docstring of a field is its help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from ugts_dist.config_factory import Args, check_args, check_own, title, without_folders
from ugts_dist.config_features import Features
from ugts_dist.config_limits import (
    MAX_COUNT,
    MAX_DEPTH,
    MAX_EPOCHS,
    MAX_SCALE,
    MAX_SECONDS,
    MAX_SEED,
    MAX_WIDTH,
    require,
    require_count,
    require_scale,
)
from ugts_dist.errors import refuse_unknown
from ugts_dist.loggers import LOGGERS

PLACE = "a file or folder of this machine"
Place = Annotated[str, PLACE]
"""A path on one machine. Saved networks leave it out, and opening one never sets it."""


@dataclass(frozen=True)
class DataConfig:
    """The graph."""

    name: str = "digits"
    """Dataset: digits (embedded), cora, citeseer, pubmed, texas, cornell, wisconsin,
    amazon-computers, amazon-photo, coauthor-cs, coauthor-physics; ogbg-molbace, ogbg-molbbbp, ogbg-molhiv (labels of
    whole graphs), ogbg-molesol, ogbg-molfreesolv (targets of whole graphs); a name given to `ugts prepare`, such as
    ogbn-arxiv or products-like; or a store's path."""
    root: Place = ""
    """Folder of the raw files, which are only read. Empty: $UGTS_DATA; if that is not set, a download into
    ~/.cache/ugts_dist/data."""
    split: int = 0
    """Split number. texas, cornell, wisconsin: 0 to 9. Graphs without an official split: the seed of a random one.
    cora, citeseer, pubmed: 0 is the public split; any other number redraws training and validation nodes from the
    public two, for choosing settings, and keeps the test nodes. task.kind link: the seed of the split of the edges."""
    features: Features = "auto"
    """Scale of the features. auto: each node's features are divided by their sum if that exceeds 1 (PyG's
    NormalizeFeatures), but prepared graphs keep theirs. row-normalize: for prepared graphs too, which then have no
    negative features. none: as in the files.
    standardize: after auto, each column gets mean 0 and standard deviation 1 over all nodes, which suits dense
    features, especially in different units; the saved network keeps both numbers for other graphs.
    standardize-raw: the same after none. For each of these, prepared graphs take a copy of the features in the memory
    of each process, but not for auto and none."""
    edge_weights: Literal["use", "ignore"] = "use"
    """Weights of the edges, if the graph has any. use: model.arch gcn puts them into its adjacency matrix; other
    architectures are refused. ignore: the graph is used as one without weights."""
    feature_noise: float = 0.0
    """Fraction of the nodes without a training label whose features are replaced by Bernoulli(0.5) noise."""
    edge_noise: float = 0.0
    """Fraction of the directed edges whose end is replaced by a random node."""
    left_out: float = 0.0
    """Fraction of the classes, drawn at random, whose labels are left out of training, validation and test."""

    def __post_init__(self) -> None:
        require(0.0 <= self.feature_noise <= 1.0, "data.feature_noise", self.feature_noise, "[0, 1]")
        require(0.0 <= self.edge_noise <= 1.0, "data.edge_noise", self.edge_noise, "[0, 1]")
        require(0.0 <= self.left_out < 1.0, "data.left_out", self.left_out, "[0, 1)")
        require(0 <= self.split <= MAX_SEED, "data.split", self.split, f"0 to {MAX_SEED}")


@dataclass(frozen=True)
class ModelConfig:
    """The network. It has no biases."""

    arch: Literal["gcn", "gin", "gin-paper", "gat", "sage"] = "gcn"
    """Layer type. gin-paper is the paper's own GIN (mean aggregation, no MLP, final ReLU)."""
    depth: int = 2
    """Number of convolutions, including the first and the last. An own network: number of layers that read neighbours;
    0: as its attribute num_layers says."""
    width: int = 256
    """Hidden width (GAT: of all heads together)."""
    heads: int = 1
    """Attention heads of GAT. The last layer averages them."""
    dropout: float = 0.0
    """Dropout rate of each layer's input during training."""
    dropout_at: Literal["every", "input"] = "every"
    """every: at each layer's input. input: only at the network's input, which keeps deep networks trainable."""
    skip: Literal["none", "residual", "initial", "jumping"] = "none"
    """Skip connections. residual: each layer mixes its output with its input. initial: with the first hidden layer
    (GCNII). jumping: the output layer reads all layers, concatenated (jumping knowledge). Each of them adds a linear
    layer before the convolutions and one after them."""
    alpha: float = 0.1
    """Weight of a residual or initial connection; the layer's output has weight 1 - alpha."""
    identity: float = 0.0
    """Lambda of GCNII's identity mapping, for gcn and gat with residual or initial connections. Layer k (1, 2, ...)
    maps h to (1 - b) h + b W h with b = log(identity / k + 1). 0: to W h."""
    norm: Literal["none", "nodenorm", "pairnorm"] = "none"
    """Normalisation of each hidden layer's output, before ReLU and without trained parameters. nodenorm: over each
    node's features. pairnorm: over all nodes (in a sampled batch: over the rank's nodes)."""
    graph_dropout: Literal["none", "dropnode", "dropedge"] = "none"
    """What each training step leaves out of the graph, the same for all layers. dropnode: all edges of random nodes.
    dropedge: random directed edges."""
    graph_dropout_rate: float = 0.2
    """Fraction of the nodes or edges that is left out."""
    factory: str = ""
    """A function that builds an own network of PyG's layers: MODULE:FUNCTION, or PATH/TO/FILE.py:FUNCTION. It is called
    with in_channels, out_channels and the arguments of model.args. All other fields but model.depth then keep their
    defaults. Empty: the networks of this program."""
    args: Args = field(default_factory=dict)
    """Arguments of the factory: numbers, texts, true or false. Each is also a field of its own, such as
    model.args.width."""

    @property
    def reads_edge_weights(self) -> bool:
        """Whether the layers use the weights of edges, as PyG's do."""
        return bool(self.factory) or self.arch not in ("gin", "gin-paper", "gat", "sage")

    def __post_init__(self) -> None:
        check_args(self.args)
        if self.factory:
            check_own(vars(self), vars(_BUILT_IN))
            return
        require(not self.args, "model.args", self.args, "nothing without model.factory")
        require_count("model.depth", self.depth, 1, MAX_DEPTH)
        require_count("model.width", self.width, 1, MAX_WIDTH)
        require_count("model.heads", self.heads, 1, MAX_WIDTH)
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "[0, 1)")
        require(0.0 < self.alpha < 1.0, "model.alpha", self.alpha, "above 0 and below 1")
        require(0.0 <= self.identity <= 1.7, "model.identity", self.identity, "[0, 1.7]")
        if self.identity:
            linear = self.arch in ("gcn", "gat") and self.skip in ("residual", "initial")
            allowed = "0 but for gcn and gat with model.skip residual or initial"
            require(linear, "model.identity", self.identity, allowed)
        rate = self.graph_dropout_rate
        require(0.0 <= rate < 1.0, "model.graph_dropout_rate", rate, "[0, 1)")
        if self.arch == "gat":
            require(
                self.width % self.heads == 0,
                "model.heads",
                self.heads,
                f"a divisor of the width {self.width}",
            )
        if self.arch == "gin-paper":
            require(self.depth >= 2, "model.depth", self.depth, "2 or more for gin-paper")
            require(
                self.skip == "none", "model.skip", self.skip, "none for gin-paper, which has a connection of its own"
            )
        if self.depth == 1 and self.skip == "none":
            require(self.norm == "none", "model.norm", self.norm, "none for model.depth 1, which has no hidden layer")

    @property
    def title(self) -> str:
        """A short name of the architecture, to show."""
        return title(self.factory) if self.factory else self.arch

    @property
    def description(self) -> str:
        """Architecture, depth and width, to show."""
        width = "" if self.factory else f" and width {self.width}"
        return f"{without_folders(self.factory) or self.arch} of depth {self.depth}{width}"


_BUILT_IN = ModelConfig()


@dataclass(frozen=True)
class OptimConfig:
    """How Adam trains the scores (with method dense: the weights)."""

    lr: float = 0.01
    """Learning rate."""
    weight_decay: float = 0.0
    """L2 penalty."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the epochs. cosine: it falls to 0 in the last epoch."""
    precision: Literal["float32", "medium", "bfloat16"] = "float32"
    """Precision of features and layers. Scores, thresholds, loss and optimiser are always float32. medium: float32,
    but training may round the inputs of matrix products to bfloat16 (CPU) or TF32 (GPU) if that is faster (PyTorch's
    float32_matmul_precision); evaluation does not."""
    compress: bool = False
    """Average the gradients over ranks in bfloat16, which halves the traffic."""
    graph: Literal["auto", "never"] = "auto"
    """CUDA graphs on a GPU. auto: the step of a full batch is recorded once and repeated as one operation, if torch
    can do that; a line says why not. never: each operation is started in each step."""

    def __post_init__(self) -> None:
        require_scale("optim.lr", self.lr)
        require(0 <= self.weight_decay <= MAX_SCALE, "optim.weight_decay", self.weight_decay, f"0 to {MAX_SCALE:g}")


@dataclass(frozen=True)
class RunConfig:
    """Seed, length, folder and device of a run."""

    seed: int = 0
    """Seed of weights, scores, batches and dropout."""
    epochs: int = 400
    """Passes over the training nodes."""
    evaluate_every: int = 1
    """Epochs between evaluations. The last epoch is always evaluated."""
    patience: int = 0
    """Stop after this many epochs without a better validation metric, counted after the ramp. 0: never."""
    select: Literal["after-ramp", "any"] = "after-ramp"
    """Epochs from which the best is chosen by validation metric. after-ramp: those at the target sparsity. any: all."""
    folder: Place = ""
    """Folder of the run: a new folder, or the folder of the same run, which is then resumed. Empty: a folder under
    runs/, that of the same run if it was stopped, otherwise a new one."""
    init_scores: Place = ""
    """Start from the scores of another run with the same frozen weights: its folder, or one of its checkpoints."""
    spill: Place = ""
    """Folder for the layer outputs of all nodes during an evaluation. Empty: they stay in memory."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device. auto: the rank's GPU if it has one, otherwise the CPU."""
    timeout: float = 600.0
    """Seconds to wait for a rank that does not answer. Then the run ends with an error that names the rank."""

    def __post_init__(self) -> None:
        require(0 < self.timeout <= MAX_SECONDS, "run.timeout", self.timeout, f"above 0, up to {MAX_SECONDS:g}")
        require(0 <= self.seed <= MAX_SEED, "run.seed", self.seed, f"0 to {MAX_SEED}")
        require_count("run.epochs", self.epochs, 1, MAX_EPOCHS)
        require_count("run.patience", self.patience, 0, MAX_COUNT)
        require_count("run.evaluate_every", self.evaluate_every, 1, MAX_COUNT)

    def evaluates(self, epoch: int) -> bool:
        """Whether an evaluation follows this epoch, counted from 0."""
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 == self.epochs


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, from which a run is resumed. No field changes the result."""

    every_minutes: float = 5.0
    """Minutes between checkpoints. 0: count steps only."""
    every_steps: int = 0
    """Steps between checkpoints. 0: measure time only."""
    at_best: bool = True
    """Also write one at each new best epoch, as long as this takes less than 2 % of the time."""
    keep_last: int = 2
    """Checkpoints to keep, in addition to the best epoch's. 0: write none."""

    def __post_init__(self) -> None:
        require(0 <= self.every_minutes < math.inf, "checkpoint.every_minutes", self.every_minutes, "0 or more")
        require_count("checkpoint.every_steps", self.every_steps, 0, MAX_COUNT)
        require_count("checkpoint.keep_last", self.keep_last, 0, MAX_COUNT)


@dataclass(frozen=True)
class LogConfig:
    """What a run shows and logs."""

    progress: bool = True
    """Show progress on standard error: a bar on a terminal, lines elsewhere."""
    every_seconds: float = 30.0
    """Least number of seconds between these lines. 0: a line for each evaluated epoch."""
    to: tuple[str, ...] = ("tensorboard",)
    """Loggers, any number of tensorboard (events in the run folder), wandb and mlflow, which are extras to install:
    pip install "ugts_dist[wandb,mlflow]". Without a value: none. metrics.jsonl is always written."""
    project: str = "ugts_dist"
    """Project of Weights & Biases, and experiment of MLflow."""

    def __post_init__(self) -> None:
        refuse_unknown(self.to, LOGGERS, "log.to: unknown logger")
        require(len(set(self.to)) == len(self.to), "log.to", list(self.to), "each logger once")
        require(bool(self.project.strip()), "log.project", repr(self.project), "a name")
        require(0 <= self.every_seconds < math.inf, "log.every_seconds", self.every_seconds, "0 or more")
