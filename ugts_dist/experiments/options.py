"""The options of `ugts demo` and `ugts reproduce`. Nothing heavy is imported here, so that their help answers at
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
    """Where runs, table and plot are written; must not exist. Empty: a new folder under runs/."""
    seed: int = 0
    """Seed of every run."""


@dataclass(frozen=True)
class ReproduceOptions:
    """The paper's tables and figures, our means and deviations beside the published figures: one page, as HTML and
    Markdown, with the figures behind it as JSON.

    Each cell is the mean over runs of several seeds. A finished run is never repeated: a reproduction that was
    interrupted goes on, and another table uses the same runs. Data that are not at hand are named before any run.
    """

    targets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """table1, table3, table5, table6, fig1, ...; deep and splits, which compare settings of deep tickets; several of
    them; or all."""
    seeds: int = 0
    """At most so many runs a cell; 0: as many as the study names."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only cells whose label (panel / row / column) contains this text, such as "citeseer" or "ugts"; given several
    times, cells with any of the texts."""
    workers: int = 0
    """Processes of one thread each that run at a time; 0: as many as this machine has cores. They take its GPUs in
    turn."""
    address: str = ""
    """A Ray cluster (HOST:PORT, or auto) that runs them instead, one on each CPU, up to four on a GPU; the folder must
    be on a disk that all share."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the runs compute; auto: on GPUs, where there are any."""
    folder: str = "reproduction"
    """Where runs and pages are written, and found again."""
    known: str = ""
    """A folder with the JSON of an earlier reproduction, such as benchmarks/reproduction: the runs whose figures it
    holds are not made again. Empty: all runs are made here."""
    draw: bool = False
    """Run nothing: only draw the page of what is finished."""
    list: bool = False
    """Run nothing: only list the cells and how many of their runs are finished."""

    def __post_init__(self) -> None:
        for name, value in (("seeds", self.seeds), ("workers", self.workers)):
            require(value >= 0, f"--{name}", value, "0 or more")
        allowed = "0 with --address: the cluster's CPUs count there"
        require(not (self.workers and self.address), "--workers", self.workers, allowed)
