from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from ugts_dist.console import errors, new_table, output, plain


def test_progress_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    errors().print("halfway")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "halfway\n")


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


def test_a_narrow_table_cuts_no_digit() -> None:
    out = io.StringIO()
    table = new_table("", ("weight", *("number",) * 6))
    table.add_row(plain("convs.0.lin.weight"), *("123456789",) * 6)
    Console(file=out, width=40).print(table)
    digits = "".join(character for character in out.getvalue() if character.isdigit())
    assert all(digits.count(digit) == 6 for digit in "123456789")
