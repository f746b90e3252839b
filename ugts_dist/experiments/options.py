"""The options of `ugts demo` and `ugts reproduce`. This module imports nothing heavy, so that their help answers at
once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ugts_dist.config_limits import require


@dataclass(frozen=True)
class DemoOptions:
    """Dense network, Edge-Popup and UGTs at three sparsities on handwritten digits, with mini-batches.

    Needs no data and no network; on two ranks: `torchrun --standalone --nproc_per_node=2 -m ugts_dist demo`.
    """

    folder: str = ""
    """Folder for runs, table and plot; must not exist. Empty: a new folder under runs/."""
    seed: int = 0
    """Seed of every run."""


@dataclass(frozen=True)
class ReproduceOptions:
    """The paper's tables and figures, with our means and deviations beside the published figures, or a study of your
    own: one page, as HTML and Markdown, with the figures as JSON.

    Each cell is the mean over runs of several seeds. Finished runs are never repeated: an interrupted reproduction can
    be resumed, and other tables use the same runs. Missing data are reported before any run.
    """

    targets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """table1, table3, table5, table6, fig1, ...; deep and splits, which compare settings of deep tickets; a study in a
    file, such as mine.toml; several of them; or all."""
    seeds: int = 0
    """Largest number of runs per cell. 0: as many as the study has."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only cells whose label (panel / row / column) contains this text, such as "citeseer" or "ugts"; given several
    times, cells with any of the texts."""
    workers: int = 0
    """Number of single-threaded processes that run at once. 0: one per core. They take the machine's GPUs in turn."""
    address: str = ""
    """A Ray cluster (HOST:PORT, or auto) for the runs: one per CPU, up to four per GPU. The folder must be on a shared
    disk."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the runs. auto: GPUs, if there are any."""
    folder: str = "reproduction"
    """Folder of runs and pages, and of finished runs."""
    known: str = ""
    """A folder with the JSON of an earlier reproduction, such as benchmarks/reproduction, whose runs are not repeated.
    Empty: make all runs."""
    draw: bool = False
    """Run nothing: only draw the page of the finished runs."""
    list: bool = False
    """Run nothing: only list the cells and how many of their runs are finished."""

    def __post_init__(self) -> None:
        for name, value in (("seeds", self.seeds), ("workers", self.workers)):
            require(value >= 0, f"--{name}", value, "0 or more")
        allowed = "0 with --address: the cluster's CPUs count there"
        require(not (self.workers and self.address), "--workers", self.workers, allowed)
