"""`ugts presets`: the built-in presets by graph, or the file of one. This module imports nothing heavy."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import tyro

from ugts_dist.config import load_preset, preset_names, preset_text
from ugts_dist.errors import refuse_unknown

_WIDEST = 100  # characters of a summary


@dataclass(frozen=True)
class PresetsOptions:
    """List the presets of `ugts train --preset`, by graph, or print one of them.

    A printed preset is a configuration file: `ugts presets cora-gcn > mine.toml`, then `ugts train --config mine.toml`.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = ""
    """The preset to print, as TOML with its comments. Fields that it does not name have their defaults. Empty: list all
    presets."""


def preset_lines(options: PresetsOptions) -> list[str]:
    """The lines of one preset's file, or of the list. Raises InputError for an unknown name."""
    if options.name:
        refuse_unknown([options.name], preset_names(), "unknown preset")
        return preset_text(options.name).splitlines()
    return list(_listed())


def _listed() -> Iterator[str]:
    presets = sorted((load_preset(name).data_name, name) for name in preset_names())
    width = max(len(name) for _, name in presets)
    for graph, group in itertools.groupby(presets, key=lambda preset: preset[0]):
        yield graph
        yield from (f"  {name:<{width}}  {_summary(graph, preset_text(name))}" for _, name in group)


def _summary(graph: str, text: str) -> str:
    """The first sentence of the comment that a preset begins with, without the graph's name."""
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = " ".join(line.removeprefix("#").strip() for line in comment)
    sentence = re.split(r"\.(?: (?=[A-Z])|$)", words, maxsplit=1)[0]
    subject, _, rest = sentence.partition(": ")
    return textwrap.shorten(rest if subject.lower() == graph else sentence, _WIDEST, placeholder=" ...")
