"""The options of `ugts analyse`. Nothing heavy is imported here, so that its help answers at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ugts_dist.config_limits import MAX_SECONDS, require

ANALYSES = ("mad", "gradients", "training", "tsne", "ood", "robustness", "calibration")


@dataclass(frozen=True)
class AnalysisOptions:
    """What every analysis is told."""

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TICKET")]
    """A .ticket file, a dense network (.safetensors), or the folder of a run."""
    out: str = ""
    """Folder for the JSON file and the figure. Empty: `analysis` beside the file."""
    graph: str = ""
    """A name of data.name, or a store's path. Empty: the graph that the network was found on."""
    root: str = ""
    """Folder with the raw files of the graph. Empty: as when it was trained."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    spill: str = ""
    """Folder whose disk holds the layers' outputs of all nodes. Empty: they are kept in memory."""
    timeout: float = 600.0
    """Seconds after which ranks give up waiting for one that does not answer, and name it."""

    def __post_init__(self) -> None:
        require(0 < self.timeout <= MAX_SECONDS, "--timeout", self.timeout, f"above 0, up to {MAX_SECONDS:g}")


@dataclass(frozen=True)
class MadOptions(AnalysisOptions):
    """Over-smoothing: the mean cosine distance between the nodes' representations (MAD), layer by layer."""


@dataclass(frozen=True)
class GradientOptions(AnalysisOptions):
    """Norm of the loss's gradient by the weights that are kept, layer by layer, in one training step."""


@dataclass(frozen=True)
class TrainingOptions(AnalysisOptions):
    """MAD and gradient norms of each layer over training.

    The run is repeated from its configuration, for all its epochs, without writing a network.
    """

    every: int = 10
    """Epochs between two looks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, "--every", self.every, "1 or more")


@dataclass(frozen=True)
class TsneOptions(AnalysisOptions):
    """A map of the nodes' representations in two dimensions, by t-SNE."""

    of: Literal["test", "valid", "train"] = "test"
    """Which nodes."""
    layer: int = 0
    """Layer whose outputs are shown, from 1; 0: the logits."""
    perplexity: float = 50.0
    """Of t-SNE; with few nodes it is at most a third of their number."""
    classes: int = 10
    """Classes that are shown, drawn at random where there are more."""
    points: int = 3000
    """Nodes that are shown, drawn at random where there are more."""
    seed: int = 0
    """Of what is drawn, and of t-SNE."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.layer >= 0, "--layer", self.layer, "0 or more")
        require(1.0 <= self.perplexity < math.inf, "--perplexity", self.perplexity, "1 or more")
        require(self.classes >= 1, "--classes", self.classes, "1 or more")
        require(self.points >= 4, "--points", self.points, "4 or more")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "0 to 2^32 - 1")


@dataclass(frozen=True)
class OodOptions(AnalysisOptions):
    """Whether the network is less sure of test nodes of classes that it never saw (ROC-AUC of the largest probability).

    For runs with left-out classes: `ugts train --data.left-out 0.4`.
    """


@dataclass(frozen=True)
class RobustnessOptions(AnalysisOptions):
    """Test accuracy when the graph gets noise after training.

    For noise before training, train with `--data.feature-noise` or `--data.edge-noise`.
    """

    fractions: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Parts of the nodes outside the training nodes, and of the edges, that are changed."""
    draws: int = 3
    """Draws of the noise, from seeds 0, 1, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = bool(self.fractions) and all(0.0 <= part <= 1.0 for part in self.fractions)
        require(ok, "--fractions", list(self.fractions), "one or more numbers in [0, 1]")
        require(self.draws >= 1, "--draws", self.draws, "1 or more")


@dataclass(frozen=True)
class CalibrationOptions(AnalysisOptions):
    """Whether the network is right as often as it is sure, on the test nodes: expected calibration error."""

    bins: int = 15
    """Bins of equal width; the paper's code has 4."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.bins <= 10_000, "--bins", self.bins, "1 to 10000")


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes)
@dataclass(frozen=True)
class AnalyseOptions:
    """Look into a ticket or a dense network: a table, a JSON file and a figure. Under torchrun the ranks share it."""

    command: (
        Annotated[MadOptions, tyro.conf.subcommand("mad")]
        | Annotated[GradientOptions, tyro.conf.subcommand("gradients")]
        | Annotated[TrainingOptions, tyro.conf.subcommand("training")]
        | Annotated[TsneOptions, tyro.conf.subcommand("tsne")]
        | Annotated[OodOptions, tyro.conf.subcommand("ood")]
        | Annotated[RobustnessOptions, tyro.conf.subcommand("robustness")]
        | Annotated[CalibrationOptions, tyro.conf.subcommand("calibration")]
    )
