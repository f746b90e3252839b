"""What every analysis has: its options, and the way from a network to a finding. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ugts_dist.config_limits import MAX_SECONDS, require

if TYPE_CHECKING:  # the help of the command line answers without them
    from matplotlib.figure import Figure

    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Finding:
    """What was found, for people.

    Attributes:
        title: of table and figure; the network's name comes before it.
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
    """One kind of analysis: its fields are its options, and its docstring is its help.

    A kind is a subclass in a file of its own, and a line in `ANALYSES`. Its `measure` imports what is heavy.
    """

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

    def measure(self, source: Source) -> Callable[[], Finding]:
        """Measure, on every rank; what it returns is called on the main rank, once the others are gone.

        Raises InputError, on every rank, for a network or options that it can't work with.
        """
        raise NotImplementedError
