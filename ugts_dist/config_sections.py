"""The sections of a configuration, each checked on construction; the text under a field is its help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ugts_dist.config_limits import (
    MAX_COATS,
    MAX_COUNT,
    MAX_DEPTH,
    MAX_EPOCHS,
    MAX_FAN_OUT,
    MAX_SCALE,
    MAX_SECONDS,
    MAX_SEED,
    MAX_THREADS,
    MAX_WIDTH,
    require,
    require_count,
    require_scale,
)
from ugts_dist.methods import METHODS, Ramp, Scope

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

_METHODS_HELP = " ".join(f"{name}: {method.summary}." for name, method in METHODS.items())

PLACE = "a file or folder of this machine"
Place = Annotated[str, PLACE]
"""What is of one machine and of one person: a saved network does not tell it, and can't choose it."""


@dataclass(frozen=True)
class DataConfig:
    """Which graph."""

    name: str = "digits"
    """Dataset: digits (embedded), cora, citeseer, pubmed, texas, cornell, wisconsin, amazon-computers, amazon-photo,
    coauthor-cs, coauthor-physics; ogbg-molbace, ogbg-molhiv (labels of whole graphs); what `ugts prepare` wrote, such
    as ogbn-arxiv or products-like; or a store's path."""
    root: Place = ""
    """Folder with the raw files, only read. Empty: $UGTS_DATA, or else a download into ~/.cache/ugts_dist/data."""
    split: int = 0
    """Which split: 0 to 9 for texas, cornell and wisconsin, the seed of the split for graphs without an official
    one; 0 for public splits. Of cora, citeseer and pubmed any other number draws training and validation nodes anew
    from these two, to choose settings by; the test nodes stay."""
    row_normalize: bool = True
    """Divide each node's features by their sum, where that is above 1 (PyG's NormalizeFeatures). Of a prepared
    graph, features stay as they are."""
    standardize: bool = False
    """Bring each column of the features to mean 0 and standard deviation 1, over all nodes. For features that are not
    mostly zeros, above all where columns have different units. Each process takes a copy of the features in memory, and
    a prediction for another graph takes that graph's own means."""
    feature_noise: float = 0.0
    """Part of the nodes without a training label whose features are replaced by coin tosses (Bernoulli 0.5)."""
    edge_noise: float = 0.0
    """Part of the directed edges that get another end, drawn from all nodes."""
    left_out: float = 0.0
    """Part of the classes, drawn at random, whose nodes' labels are left out of training, validation and test."""

    def __post_init__(self) -> None:
        require(0.0 <= self.feature_noise <= 1.0, "data.feature_noise", self.feature_noise, "[0, 1]")
        require(0.0 <= self.edge_noise <= 1.0, "data.edge_noise", self.edge_noise, "[0, 1]")
        require(0.0 <= self.left_out < 1.0, "data.left_out", self.left_out, "[0, 1)")
        require(0 <= self.split <= MAX_SEED, "data.split", self.split, f"0 to {MAX_SEED}")


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
    dropout_at: Literal["every", "input"] = "every"
    """input: only of the network's input, which leaves deep networks trainable."""
    skip: Literal["none", "residual", "initial", "jumping"] = "none"
    """Connections past layers. residual: each layer's output is mixed with a part of its input; initial: with a part
    of the first hidden layer (GCNII); jumping: the output sees all layers, side by side (jumping knowledge). With any
    of them a linear layer stands before the convolutions, and one after them."""
    alpha: float = 0.1
    """That part, of residual and initial connections; the output counts 1 - alpha."""
    identity: float = 0.0
    """GCNII's identity mapping, of gcn and gat with residual or initial connections: layer k (1, 2, ...) hands on its
    input as it is beside the linear map of it, whose part is log(identity / k + 1); 0: the linear map alone."""
    norm: Literal["none", "nodenorm", "pairnorm"] = "none"
    """Normalisation of each hidden layer's outputs, before ReLU and without trained parameters. nodenorm: of each
    node's features; pairnorm: over all nodes (in a sampled batch, over those that a rank has of it)."""
    graph_dropout: Literal["none", "dropnode", "dropedge"] = "none"
    """What is left out of the graph in each training step, the same in all layers: dropnode: all edges of some nodes;
    dropedge: some of the directed edges."""
    graph_dropout_rate: float = 0.2
    """The part of the nodes or edges that is left out."""

    def __post_init__(self) -> None:
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


@dataclass(frozen=True)
class SupermaskConfig:
    """How the ticket is searched."""

    method: Annotated[MethodName, tyro.conf.arg(help=_METHODS_HELP)] = "ugts"
    """One of `METHODS`: what is compared with which threshold, and how the sparsity rises."""
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
    weight_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "balanced", "uniform"] = (
        "signed-constant"
    )
    """Distribution of the frozen weights. balanced: constant magnitude and, for each output, as many of either sign,
    which deep networks need."""
    score_init: Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "balanced", "uniform"] = (
        "kaiming-uniform"
    )
    """Distribution of the first scores."""
    score_scale: float = 1.0
    """The first scores are multiplied by this."""
    rescale: bool = True
    """Multiply what is kept of a layer by density^-1/2, so that its outputs keep their scale as weights vanish."""
    ranking: Literal["score", "magnitude"] = "score"
    """What is compared with the threshold: the score, or its magnitude as in the original Edge-Popup."""
    coats: int = 1
    """Nested thresholds on each score: a weight counts as often as its score reaches one (multicoated supermasks).
    Their sparsities lie evenly between the target and 1; 1: a binary mask."""
    signed: bool = False
    """What is kept has the sign of its score, which can so turn a weight around (signed supermasks); for ranking
    magnitude."""
    pruned: float = 0.0
    """Part of each layer's weights that is masked for good, drawn from the seed: a ticket has no bits for it, and
    training can't bring it back. Counts towards the sparsity."""
    locked: float = 0.0
    """Part of each layer's weights that is kept for good, likewise."""
    fold: bool = False
    """Convolutions of equal shape share their random weights, which are held once; each has its own scores and mask."""
    floor: float = 0.0
    """Part of its even share, 1 - sparsity of its weights, that each layer keeps at least; 0: nothing, as in the
    paper; 1: the same density in every layer."""
    input_sparsity: float = 0.0
    """Sparsity of the weights that read the features, with a threshold of their own: they are masked before all others,
    up to this part. Worth a try where features are many and labels few. 0: one threshold for all layers, as in the
    paper."""
    calibrate: bool = True
    """Scale each layer's frozen weights once, so that its outputs start with root mean square 1."""
    calibrate_at: float = 0.0
    """Sparsity at which the outputs are measured."""
    output_rms: float = 0.1
    """Root mean square of the logits after calibration."""
    attention_rms: float = 0.01
    """Root mean square of attention logits after calibration; small, as random attention is nothing but noise."""

    def __post_init__(self) -> None:
        require(0.0 <= self.sparsity < 1.0, "supermask.sparsity", self.sparsity, "[0, 1)")
        require(0.0 <= self.initial_sparsity < 1.0, "supermask.initial_sparsity", self.initial_sparsity, "[0, 1)")
        require(0.0 <= self.calibrate_at < 1.0, "supermask.calibrate_at", self.calibrate_at, "[0, 1)")
        require(0.0 <= self.ramp <= 1.0, "supermask.ramp", self.ramp, "[0, 1]")
        require(0.0 <= self.floor <= 1.0, "supermask.floor", self.floor, "[0, 1]")
        require_count("supermask.coats", self.coats, 1, MAX_COATS)
        self._check_frozen()
        if self.signed:
            allowed = "magnitude, as supermask.signed is true"
            require(self.ranking == "magnitude", "supermask.ranking", self.ranking, allowed)
        require(0.0 <= self.input_sparsity < 1.0, "supermask.input_sparsity", self.input_sparsity, "[0, 1)")
        if self.parts[0] == "layer":
            allowed = "0 with a threshold for each layer"
            require(self.input_sparsity == 0.0, "supermask.input_sparsity", self.input_sparsity, allowed)
        require_scale("supermask.score_scale", self.score_scale)
        require_scale("supermask.attention_rms", self.attention_rms)
        require_scale("supermask.output_rms", self.output_rms)
        require(-1 <= self.seed <= MAX_SEED, "supermask.seed", self.seed, f"0 to {MAX_SEED}, or -1")

    def _check_frozen(self) -> None:
        allowed = f"0 to supermask.sparsity, {self.sparsity:g}"
        require(0.0 <= self.pruned <= self.sparsity, "supermask.pruned", self.pruned, allowed)
        require(0.0 <= self.locked < 1.0, "supermask.locked", self.locked, "[0, 1)")
        for name in ("sparsity", "initial_sparsity", "calibrate_at"):
            value = getattr(self, name)
            allowed = f"0 to 1 - supermask.{name}, {1.0 - value:g}"
            require(self.locked <= 1.0 - value + 1e-9, "supermask.locked", self.locked, allowed)
        allowed = f"less than 1 - supermask.pruned, {1.0 - self.pruned:g}"
        require(self.pruned + self.locked < 1.0, "supermask.locked", self.locked, allowed)

    @property
    def parts(self) -> tuple[Scope, Ramp]:
        """Scope and schedule, the method's own where they are `auto`."""
        method = METHODS[self.method]
        return (
            method.scope if self.scope == "auto" else self.scope,
            method.schedule if self.schedule == "auto" else self.schedule,
        )

    @property
    def masks(self) -> bool:
        """Whether weights are masked: a ticket is searched, not a dense network trained."""
        return METHODS[self.method].masks


@dataclass(frozen=True)
class OptimConfig:
    """How the scores are trained (or the weights, with method dense). The optimiser is Adam."""

    lr: float = 0.01
    """Learning rate."""
    weight_decay: float = 0.0
    """L2 penalty."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the epochs; cosine: down to 0 at the last."""
    precision: Literal["float32", "medium", "bfloat16"] = "float32"
    """Of features and layers; scores, thresholds, loss and optimiser are always float32. medium: float32, but the
    matrix products of training may round what they multiply, to bfloat16 on a CPU or TF32 on a GPU, where that is
    faster (PyTorch's float32_matmul_precision); evaluation never does."""
    compress: bool = False
    """Average the gradients over ranks in bfloat16: half the traffic."""

    def __post_init__(self) -> None:
        require_scale("optim.lr", self.lr)
        require(0 <= self.weight_decay <= MAX_SCALE, "optim.weight_decay", self.weight_decay, f"0 to {MAX_SCALE:g}")


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
        require_count("batch.size", self.size, 0, MAX_COUNT)
        require_count("batch.parts", self.parts, 1, MAX_COUNT)
        require(-1 <= self.threads <= MAX_THREADS, "batch.threads", self.threads, f"0 to {MAX_THREADS}, or -1")
        known = all(k == -1 or 0 < k <= MAX_FAN_OUT for k in self.fan_out)
        require(known, "batch.fan_out", list(self.fan_out), f"1 to {MAX_FAN_OUT} for each layer, or -1")


@dataclass(frozen=True)
class RunConfig:
    """One run."""

    seed: int = 0
    """Determines weights, scores, batches and dropout."""
    epochs: int = 400
    """Passes over the training nodes."""
    evaluate_every: int = 1
    """Epochs between two evaluations; the last epoch is always evaluated."""
    patience: int = 0
    """Epochs without a better validation metric, after the ramp, at which training ends early; 0: never."""
    select: Literal["after-ramp", "any"] = "after-ramp"
    """Which epochs may be the best one, by validation accuracy: those at the target sparsity, or any."""
    folder: Place = ""
    """Where the run is written: a new folder, or that of the same run, which goes on. Empty: one under runs/, that of
    the same run where it was stopped, else a new one."""
    init_scores: Place = ""
    """Start from the scores of another run with the same frozen weights: its folder, or one of its checkpoints."""
    spill: Place = ""
    """Folder whose disk holds the layers' outputs of all nodes during an evaluation. Empty: they are kept in memory."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: the GPU of the rank, where there is one."""
    timeout: float = 600.0
    """Seconds after which ranks give up waiting for one that does not answer, and name it."""

    def __post_init__(self) -> None:
        require(0 < self.timeout <= MAX_SECONDS, "run.timeout", self.timeout, f"above 0, up to {MAX_SECONDS:g}")
        require(0 <= self.seed <= MAX_SEED, "run.seed", self.seed, f"0 to {MAX_SEED}")
        require_count("run.epochs", self.epochs, 1, MAX_EPOCHS)
        require_count("run.patience", self.patience, 0, MAX_COUNT)
        require_count("run.evaluate_every", self.evaluate_every, 1, MAX_COUNT)


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
        require(0 <= self.every_minutes < math.inf, "checkpoint.every_minutes", self.every_minutes, "0 or more")
        require_count("checkpoint.every_steps", self.every_steps, 0, MAX_COUNT)
        require_count("checkpoint.keep_last", self.keep_last, 0, MAX_COUNT)


@dataclass(frozen=True)
class LogConfig:
    """What is shown and kept."""

    progress: bool = True
    """Progress on standard error: a bar on a terminal, lines elsewhere."""
    every_seconds: float = 30.0
    """Seconds between two of these lines, at least; 0: a line for each measured epoch."""
    tensorboard: bool = True
    """TensorBoard events in the run folder."""

    def __post_init__(self) -> None:
        require(0 <= self.every_seconds < math.inf, "log.every_seconds", self.every_seconds, "0 or more")
