"""`--help` on terminals of any width: what it explains, and how it is wrapped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from ugts_dist.arguments import TrainArguments
from ugts_dist.cli import COMMANDS, main
from ugts_dist.config import Config, flat
from ugts_dist.help_text import EVERYDAY

Help = Callable[..., str]

FIELDS = {f"--{name.replace('_', '-')}" for name in flat(Config().to_dict())}


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """The help that is printed."""

    def of(*args: str, width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as stop:
            main(list(args))
        assert stop.value.code in (0, None)
        return capsys.readouterr().out

    return of


def explained(text: str) -> set[str]:
    """The options that begin an entry, without those that only a text mentions."""
    return set(re.findall(r"^[│ ]*(--[a-z][\w.-]*)", text, re.MULTILINE))


def words(text: str) -> str:
    """The text as one line, without boxes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_the_short_help_explains_the_everyday_fields_alone(shown: Help) -> None:
    fields = {f"--{name.replace('_', '-')}" for name in EVERYDAY}
    assert explained(shown("train", "--help", width=100)) == fields
    assert 15 <= len(fields) <= 26
    assert fields >= {"--task.kind", "--task.metric"}
    assert fields - FIELDS == {"--preset", "--config", "--resume"}


def test_the_long_help_explains_every_field(shown: Help) -> None:
    text = shown("train", "--help-all", width=100)
    assert explained(text) >= FIELDS | {"--resume.override", "--init-scores", "--rules"}
    assert "--given" not in text


def test_the_short_help_says_where_the_others_are_and_how_a_file_has_them(shown: Help) -> None:
    text = words(shown("train", "-h"))
    assert "`ugts train --help-all` every field" in text
    assert "is the line `fan_out = [10, 5]` below `[batch]` in a file" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("args", [("--help",), ("train", "--help-all"), *((name, "--help") for name in COMMANDS)])
def test_no_line_is_wider_than_the_terminal(shown: Help, args: tuple[str, ...], width: int) -> None:
    assert max(map(len, shown(*args, width=width).splitlines())) <= width


def test_lines_are_filled(shown: Help) -> None:
    """Each line of a field's text but the last is so long that the next word has no room."""
    text = shown("train", "--help", width=80)
    (entry,) = re.findall(r"--resume STR[ │]*\n(.*?\(default: auto\))", text, re.DOTALL)
    lines = [line.strip("│ ") for line in entry.splitlines()]
    assert len(lines) > 3
    for line, following in itertools.pairwise(lines):
        assert len(line) + 1 + len(following.split()[0]) > 80 - 4 - 6


def test_defaults_are_those_of_the_preset(shown: Help) -> None:
    text = words(shown("train", "--preset", "cora-gcn", "--help"))
    assert "Dropout rate of each layer's input during training. (default: 0.8)" in text


def test_a_text_follows_its_field(shown: Help) -> None:
    assert words(TrainArguments.__doc__ or "") in words(shown("train", "--help"))
    text = words(shown("train", "--help-all"))
    assert "--model.heads INT Attention heads of GAT. The last layer averages them. (default: 1)" in text
    assert "ugts: one global threshold, gradual sparsity." in text
    assert "The network. It has no biases." in text
