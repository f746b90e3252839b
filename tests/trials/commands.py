"""Commands that are not what was meant: told in one line, with what was probably meant, and no word of Python's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.trials.case import Case, case, ugts

MISTAKES: Mapping[str, str] = {
    "unknown": r"unknown command 'unknown'; allowed are train, ",
    "trian": r"unknown command 'trian' \(did you mean train\?\)",
    "ticket shwo a": r"unknown command ticket 'shwo' \(did you mean show\?\); allowed are show, diff, export$",
    "analyse robustnes a": r"unknown command analyse 'robustnes' \(did you mean robustness\?\)",
    "train --preset cora-gnc": r"--preset cora-gnc: unknown \(did you mean cora-gcn\?\); allowed are ",
    "train --preset": r"--preset: a value is missing$",
    "train --sparsity 0.5": r"unknown option --sparsity \(did you mean --supermask\.sparsity\?\)",
    "train --epochs 3": r"unknown option --epochs \(did you mean --run\.epochs\?\)",
    "train --optim.lr abc": r"--optim\.lr is 'abc', allowed is a number$",
    "train --optim.lr": r"--optim\.lr: a value is missing$",
    "train --model.depth 2.5": r"--model\.depth is '2\.5', allowed is a whole number$",
    "train --optim.lr 0": r"optim\.lr is 0\.0, allowed is above 0",
    "train --model.arch x": r"--model\.arch is 'x', allowed are 'gcn', ",
    "train --supermask.rescale False": r"--supermask\.rescale takes no value, but 'False' follows it; allowed are ",
    "tune --space cora-gnc": r"--space: no file and no preset 'cora-gnc' \(did you mean cora-gcn\?\)",
    "reproduce tabel1": r"unknown table or figure 'tabel1' \(did you mean table1\?\); allowed are ",
    "predict": r"Missing from ugts predict: TICKET A \.ticket file",
}


def _mistake(command: str, told: str) -> Case:
    def run(folder: Path) -> str:
        return ugts(*command.split()).told

    return Case("commands", command, rf"^exit 2: ugts: {told}", run)


CASES = [_mistake(command, told) for command, told in MISTAKES.items()]


@case(r"^exit 0: ugts_dist \S+, torch \S+, torch-geometric \S+, Python 3\.\d+\.\d+\S*$")
def version(folder: Path) -> str:
    """The versions."""
    return ugts("--version").told
