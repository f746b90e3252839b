"""The output of an analysis: a table on the terminal, a JSON file and a figure."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

from ugts_dist.analysis.base import Analysis, Finding
from ugts_dist.atomic import write_file, write_text
from ugts_dist.checkpointing.identity import run_key
from ugts_dist.config import Config
from ugts_dist.console import new_table, output, plain
from ugts_dist.errors import InputError
from ugts_dist.plots import png
from ugts_dist.terminal import escaped, say
from ugts_dist.text_files import JSON_BYTES, parse_json, read_bytes

_NOT_OPTIONS = ("path", "out", "root", "device", "spill", "timeout")  # they do not change the result


@dataclass(frozen=True)
class OutputFiles:
    """The files of one analysis of one network.

    Attributes:
        folder: of the files; it need not exist.
        name: of the analysis, and of its files.
        title: of the network, to show.
        network: identifies the network of existing files.
    """

    folder: Path
    name: str
    title: str
    network: dict[str, str]

    @classmethod
    def of(cls, options: Analysis, name: str, file: Path, config: Config) -> OutputFiles:
        """Files in `--out`, by default in the folder `analysis` beside the network's file."""
        network = {"file": file.name, "run": run_key(config), "data": config.data_name, "label": config.label}
        title = f"{config.data_name}, {config.model.title} of depth {config.model.depth}, {config.label}"
        return cls(Path(options.out) if options.out else file.parent / "analysis", name, title, network)

    @property
    def json(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def png(self) -> Path:
        return self.folder / f"{self.name}.png"

    def check(self) -> None:
        """Raise InputError if nothing can be written, and for existing files of other analyses. Creates nothing."""
        parent = next(path for path in (self.folder, *self.folder.absolute().parents) if os.path.lexists(path))
        if not parent.is_dir():
            raise InputError(
                f"--out is {self.folder}, but {parent} is no folder; allowed is a folder, which may be new"
            )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"--out is {self.folder}, which can't be written to; name another folder as --out")
        for path in (self.json, self.png):
            if os.path.lexists(path) and not self._is_own():
                raise InputError(
                    f"{path} exists and is not of this analysis of this network; name another folder as --out"
                )

    def _is_own(self) -> bool:
        """Whether existing files are from an earlier analysis of this kind and network."""
        try:
            known = parse_json(read_bytes(self.json, JSON_BYTES).decode())
            return bool(known["analysis"] == self.name and known["network"] == self.network)
        except (OSError, KeyError, ValueError):
            return False


def write_finding(finding: Finding, files: OutputFiles, options: Analysis) -> None:
    """Print the table, write the files and print their paths."""
    finding = replace(finding, title=f"{files.title}: {finding.title}")
    _show(finding)
    chosen = {name: value for name, value in asdict(options).items() if name not in _NOT_OPTIONS}
    values = {"analysis": files.name, "network": files.network, "options": chosen, "result": finding.values}
    files.folder.mkdir(parents=True, exist_ok=True)
    # The figure is last: without its JSON file it would count as another analysis' file.
    write_text(files.json, json.dumps(values, indent=1) + "\n")
    write_file(files.png, _drawn(finding))
    say(files.json)
    say(files.png)


def _show(finding: Finding) -> None:
    table = new_table("", finding.columns)
    for row in finding.rows:
        table.add_row(*map(plain, row))
    output().print(plain(finding.title, "bold"), table, sep="\n")


def _drawn(finding: Finding) -> bytes:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    finding.draw(figure)
    figure.suptitle(escaped(finding.title).replace("$", r"\$"), fontsize="medium")
    return png(figure)
