"""The options of `ugts ticket`, `ugts predict` and `ugts evaluate`. This module imports nothing heavy, so that their
help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ugts_dist.config_limits import MAX_SECONDS, require

Format = Literal["state-dict", "csr", "torch-export", "onnx"]
TICKET_COMMANDS = ("show", "diff", "export")
TicketFile = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class ShowOptions:
    """Show a ticket: sparsity, layers, size, origin, metrics and configuration."""

    path: TicketFile
    """A .ticket file, or the folder of a run."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclass(frozen=True)
class DiffOptions:
    """Compare two tickets with equal shapes: mask bits layer by layer, weights, configuration, metrics."""

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """A .ticket file, or the folder of a run."""
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """A .ticket file, or the folder of a run."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a ticket's network in a format that does not need this program.

    state-dict: safetensors with the masked weights under the names of PyG's own GCN, GraphSAGE, GAT or GIN; the
    metadata `pyg` has class and arguments. csr: safetensors with the kept weights in CSR form. torch-export: a
    program of torch.export (.pt2) that takes features and edge_index of any graph. onnx: the same as ONNX.
    """

    path: TicketFile
    """A .ticket file, or the folder of a run."""
    format: Format
    """Format of the file."""
    out: str
    """The file, which must not exist."""


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes)
@dataclass(frozen=True)
class TicketOptions:
    """Look at tickets, compare them, export their networks."""

    command: (
        Annotated[ShowOptions, tyro.conf.subcommand("show")]
        | Annotated[DiffOptions, tyro.conf.subcommand("diff")]
        | Annotated[ExportOptions, tyro.conf.subcommand("export")]
    )


@dataclass(frozen=True)
class PredictOptions:
    """Predict exactly, with all neighbours, for all nodes of a graph, and write a CSV or Parquet file.

    Columns: node, prediction, and p_0, p_1, ... with the probability of each class. Nodes and classes have the names
    in the files that `ugts prepare` read. If the graph has labels, the accuracy is printed: on its test nodes, or on
    all labelled nodes if it has no split. For datasets of graphs (ogbg-mol*): graph, and p_0, p_1, ... with the
    probability of each label. Of link prediction: node, and z_0, z_1, ... with its embedding. Under torchrun the ranks
    share the nodes.
    """

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TICKET")]
    """A .ticket file, a dense network (.safetensors), or the folder of a run."""
    out: str
    """The file, a .csv or a .parquet, which must not exist."""
    graph: str = ""
    """A name of data.name, or a store's path. Its nodes need as many features as the network reads; it needs no labels
    and no split. Empty: the network's own graph."""
    root: str = ""
    """Folder of the graph's raw files. Empty: $UGTS_DATA, or the run's own."""
    pairs: str = ""
    """For link prediction, a file (.csv, .parquet or .npy) with two node ids in each row. The columns written are then
    source, destination and probability of an edge."""
    factory: str = ""
    """The code of your own network: MODULE:FUNCTION, or PATH/TO/FILE.py:FUNCTION."""
    spill: str = ""
    """Folder for the layer outputs of all nodes. Empty: they stay in memory."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device."""
    timeout: float = 3600.0
    """Seconds that a rank waits for another one, which includes writing the rows of the ranks before it."""

    def __post_init__(self) -> None:
        require(0 < self.timeout <= MAX_SECONDS, "--timeout", self.timeout, f"above 0, up to {MAX_SECONDS:g}")


@dataclass(frozen=True)
class EvaluateOptions:
    """Rebuild the network of a ticket (or a saved dense network) and measure its accuracy on all nodes."""

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TICKET")]
    """A .ticket file, or the folder of a run."""
    graph: str = ""
    """A name of data.name, or a store's path. Empty: the network's own graph."""
    root: str = ""
    """Folder of the graph's raw files. Empty: as in training."""
    factory: str = ""
    """The code of your own network: MODULE:FUNCTION, or PATH/TO/FILE.py:FUNCTION."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device."""
