from __future__ import annotations

import io

import pytest
from rich.table import Table

from ugts_dist.console import output, plain


def test_a_pipe_is_wide_whatever_the_terminal_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert output().width == 200


def test_a_cell_is_no_markup_and_acts_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    table = Table(title=plain("[bold]t"))
    table.add_column(plain("[red]h"))
    table.add_row(plain("[/]\x1b[2J"))
    output().print(table)
    for text in ("[bold]t", "[red]h", r"[/]\x1b[2J"):
        assert text in out.getvalue()
    assert "\x1b" not in out.getvalue()
