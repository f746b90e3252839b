"""The analyses, by their names on the command line. To add one: a file with its class, and its line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Union

import tyro

from ugts_dist.analysis.base import Analysis
from ugts_dist.registry import load_classes

ANALYSES: dict[str, type[Analysis]] = load_classes(
    __name__,
    Analysis,
    {
        "mad": "Mad",
        "gradients": "Gradients",
        "training": "Training",
        "tsne": "Tsne",
        "ood": "Ood",
        "robustness": "Robustness",
        "calibration": "Calibration",
    },
)

if TYPE_CHECKING:
    Command = Analysis
else:
    Command = Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in ANALYSES.items())]  # noqa: UP007


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes)
@dataclass(frozen=True)
class AnalyseOptions:
    """Analyse a ticket or a dense network: a table, a JSON file and a figure. Ranks of torchrun share the work."""

    command: Command
