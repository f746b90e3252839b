"""Base class of the analyses: options, and the measurement that returns a finding. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ugts_dist.config_limits import MAX_SECONDS, require

if TYPE_CHECKING:  # not needed by the help of the command line
    from matplotlib.figure import Figure

    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Finding:
    """The result of an analysis, to show.

    Attributes:
        title: of table and figure, after the network's name.
        columns: headings of the table.
        rows: of the table.
        values: for the JSON file.
        draw: draws the figure, which is empty.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: dict[str, Any]
    draw: Callable[[Figure], None]


@dataclass(frozen=True)
class Analysis:
    """One kind of analysis. Its fields are its options, and its docstring is its help.

    A kind is a subclass in its own file, and a line in `ANALYSES`. `measure` imports heavy modules.
    """

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TICKET")]
    """A .ticket file, a dense network (.safetensors), or the folder of a run."""
    out: str = ""
    """Folder for the JSON file and the figure. Empty: `analysis` beside the file."""
    graph: str = ""
    """A name of data.name, or a store's path. Empty: the network's own graph."""
    root: str = ""
    """Folder of the graph's raw files. Empty: as in training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device."""
    spill: str = ""
    """Folder for the layer outputs of all nodes. Empty: they stay in memory."""
    timeout: float = 600.0
    """Seconds to wait for a rank that does not answer. Then the command ends with an error that names the rank."""

    def __post_init__(self) -> None:
        require(0 < self.timeout <= MAX_SECONDS, "--timeout", self.timeout, f"above 0, up to {MAX_SECONDS:g}")

    def measure(self, source: Source) -> Callable[[], Finding]:
        """Measure, on every rank. The main rank calls the returned function, after the other ranks have ended.

        Raises InputError, on every rank, for a network or options that it does not support.
        """
        raise NotImplementedError
