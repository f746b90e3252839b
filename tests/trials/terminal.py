"""What is printed on a terminal, a pipe or a log: names and files never act on it, and a log is not empty."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from tests.trials.case import Outcome, case, ugts
from ugts_dist import Ticket, sparsify
from ugts_dist.config import Config

HOSTILE = "\x1b[2J\x1b]0;mine\x07\u202e[red]x\x9b31m"
SHOWN = r"\\x1b\[2J\\x1b\]0;mine\\x07\\u202e\[red\]x\\x9b31m"


def escaped(outcome: Outcome) -> str:
    """What was printed, with a mark if any of it acts on a terminal."""
    text = outcome.out + outcome.err
    acts = [c for c in text if not c.isprintable() and c != "\n"]
    return f"exit {outcome.code}{': ACTS ' + ascii(acts) if acts else ''}: {text}"


def ticket(folder: Path, name: str) -> Path:
    """A ticket of whose texts as many as possible are hostile."""
    mask = sparsify(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    made = Ticket.of(mask, {HOSTILE: {name: HOSTILE}}, {HOSTILE: 1.0}, {HOSTILE: HOSTILE})
    made.save(folder / f"{name}{HOSTILE}.ticket")
    return folder / f"{name}{HOSTILE}.ticket"


@case(rf"^exit 2: ugts: unknown command '{SHOWN}")
def command(folder: Path) -> str:
    """A command that acts on a terminal."""
    return escaped(ugts(HOSTILE))


@case(rf"^exit 2: ugts: {SHOWN}\.toml: cannot be read as a configuration")
def configuration(folder: Path) -> str:
    """The name of a configuration acts on a terminal."""
    return escaped(ugts("train", "--config", f"{HOSTILE}.toml"))


@case(rf"^exit 2: ugts: \S*c\.toml: model\.arch is 'x{SHOWN}")
def value(folder: Path) -> str:
    """A value of a configuration acts on a terminal."""
    (folder / "c.toml").write_text(f"[model]\narch = {json.dumps('x' + HOSTILE)}\n", encoding="utf-8")
    return escaped(ugts("train", "--config", folder / "c.toml"))


@case(r"^exit 0: usage: ugts train ")
def default(folder: Path) -> str:
    """The help shows the values of a configuration, one of which acts on a terminal."""
    (folder / "c.toml").write_text(f"[data]\nname = {json.dumps(HOSTILE)}\n", encoding="utf-8")
    return escaped(ugts("train", "--config", folder / "c.toml", "--help"))


@case(rf"^exit 2: ugts: \S*{SHOWN}: cannot be read as a space")
def space(folder: Path) -> str:
    """The name of a space acts on a terminal."""
    (folder / HOSTILE).mkdir()
    return escaped(ugts("tune", "--space", folder / HOSTILE))


@case(rf"^exit 0: .*{SHOWN}.*Provenance.*{SHOWN}.*Configuration.*{SHOWN}")
def show(folder: Path) -> str:
    """The tables of a ticket whose name and texts act on a terminal."""
    return escaped(ugts("ticket", "show", ticket(folder, "a")))


@case(r"^exit 0: Masks of .*x1b.*Differences .*x1b")
def diff(folder: Path) -> str:
    """The differences of two such tickets."""
    return escaped(ugts("ticket", "diff", ticket(folder, "a"), ticket(folder, "b")))


@case(rf"^exit 0: .*page with {SHOWN}")
def report(folder: Path) -> str:
    """A page about a run whose configuration would turn the direction of its text."""
    data = json.dumps(HOSTILE)
    (folder / "config.toml").write_text(Config().to_toml().replace('"digits"', data), encoding="utf-8")
    outcome = ugts("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    acts = [c for c in page if not c.isprintable() and c not in "\n\t"]
    return f"{escaped(outcome)} page with {ascii(acts) if acts else ' '.join(re.findall(r'[^>]*mine[^<]*', page))}"


SETTINGS = r"(?:ugts: \S+ \S+ \(.*?\) )*"


@case(rf"^exit 0: ugts: run folder \S*{SHOWN} {SETTINGS}ugts: 1 of 1 epochs, .* left .*run folder \S*{SHOWN} ")
def log(folder: Path) -> str:
    """A log has the folder at once, then lines of epochs; the folder's name acts on a terminal."""
    small = ["--data.name", "digits", "--model.width", "4", "--run.epochs", "1", "--run.select", "any"]
    outcome = ugts("train", *small, "--log.to", "--run.folder", folder / HOSTILE)
    return escaped(Outcome(outcome.code, outcome.err + outcome.out, ""))
