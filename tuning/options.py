"""The options of `ugts tune`. This module imports nothing heavy, so that its help answers at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ugts_dist.config_limits import require
from ugts_dist.errors import InputError


@dataclass(frozen=True)
class TuneOptions:
    """Search for the sparsest or smallest ticket that matches the trained dense network; here or on a Ray cluster.

    A space names fields of the configuration and the values to try. The same command, or `ugts tune --resume NAME`,
    resumes a search that was stopped or killed. Finished trials are not repeated.
    """

    space: str = ""
    """A file (TOML), or a built-in space: cora-gcn, cora-gat, citeseer-gcn, citeseer-gat, each also with -depth and
    -bytes; pubmed-gcn-bytes, pubmed-gat-bytes; digits."""
    objective: Literal["auto", "sparsity", "bytes"] = "auto"
    """sparsity: the sparsest ticket that matches the trained dense network. bytes: the one with the smallest file,
    whatever the space varies, such as model.width. auto: search.objective of the space, by default sparsity."""
    resume: str = ""
    """Name of the search to resume, with its own space."""
    name: str = ""
    """Name of the search and of its folder. Empty: the name of the space, with the objective if that is given."""
    storage: str = "searches"
    """Folder of all searches. On a cluster, every node has to see it under this path."""
    address: str = ""
    """A Ray cluster, HOST:PORT, or auto for the one on this machine. Empty: $RAY_ADDRESS; if that is not set, a cluster
    of this machine alone for the time of the search."""
    cpus: int = 0
    """CPUs for a search on this machine alone. 0: all."""

    def __post_init__(self) -> None:
        if bool(self.space) == bool(self.resume):
            raise InputError("--space and --resume: exactly one of them is needed")
        if self.resume and self.name:
            raise InputError(f"--name is {self.name}, but --resume {self.resume} names the search already")
        if self.resume and self.objective != "auto":
            raise InputError(f"--objective is {self.objective}, but --resume {self.resume} has its own")
        name = self.resume or self.name
        if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(f"--name is {name!r}, allowed are letters, digits, points and hyphens")
        require(self.cpus >= 0, "--cpus", self.cpus, "0 or more")
        allowed = "0 with --address, whose cluster has its own"
        require(not (self.cpus and self.address), "--cpus", self.cpus, allowed)
