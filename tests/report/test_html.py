"""The rendered page, read by another parser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from tests.report.pages import PNG, pages
from tests.report.parsed import Parsed, check_self_contained
from ugts_dist.report.html import is_report, render
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Page, Paragraph, Problem, Section, Table

UNPRINTABLE = "\x00\x1b\u202e\ud800"
HOSTILE = f"<script>alert('x')</script>\"><img src=http://example.org/x.png onerror=alert(1)> &amp; {UNPRINTABLE} ]]>"


@given(pages)
def test_any_page_is_well_formed_and_loads_nothing(page: Page) -> None:
    parsed = Parsed(render(page, Path()))
    check_self_contained(parsed)
    render(page, Path()).encode()


def test_texts_never_become_markup() -> None:
    everywhere: list[Block] = [
        Table([HOSTILE, "b"], [[HOSTILE, Cell(HOSTILE, "worse")]], HOSTILE),
        Figure(PNG, HOSTILE),
        Figure(f"{HOSTILE[:20]}.png", HOSTILE),
        Paragraph(f"{HOSTILE} `{HOSTILE}`"),
        Problem(HOSTILE),
        Code(HOSTILE),
        Details(HOSTILE, Paragraph(HOSTILE)),
    ]
    text = render(Page(HOSTILE, HOSTILE, [Section(HOSTILE, HOSTILE, everywhere)] * 3), Path())
    parsed = Parsed(text)
    check_self_contained(parsed)
    shown = re.sub(f"[{UNPRINTABLE}]", lambda match: match[0].encode("unicode_escape").decode(), HOSTILE)
    assert [tag for tag, _ in parsed.tags].count("img") == 3
    # Title and heading; then of each section: the contents, heading, text, and what the blocks show.
    assert parsed.text.count("<script>alert") == 3 + 3 * (1 + 2 + 4 + 1 + 1 + 2 + 1 + 1 + 2)
    assert shown in parsed.text
    assert parsed.tables[0] == [[shown, "b"], [shown, f"▼ {shown}"]]
    assert next(attributes for tag, attributes in parsed.tags if tag == "img")["alt"] == shown


def test_the_head_says_what_a_phone_needs_and_who_wrote_it() -> None:
    text = render(Page("t"), Path())
    metas = [attributes for tag, attributes in Parsed(text).tags if tag == "meta"]
    assert {"charset": "utf-8"} in metas
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert any(attributes.get("content", "").startswith("default-src 'none'; img-src data:") for attributes in metas)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert is_report(text[:1000])
    assert not is_report(text.replace("ugts report", "another program")[:1000])


def test_the_style_knows_the_dark_paper_and_narrow_screens() -> None:
    style = Parsed(render(Page("t"), Path())).style
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert style.count("{") == style.count("}")
    assert not re.search(r"[^-]width:\s*\d+px", style)
    assert {"<", ">"} & {*style} == set()


def test_every_table_scrolls_by_itself() -> None:
    page = Page("t", "", [Section("s", "", [Table(["a"], [["1"]]), Details("d", Table(["b"], [["2"]]))])])
    tags = Parsed(render(page, Path())).tags
    for place, (tag, _) in enumerate(tags):
        if tag == "table":
            assert tags[place - 1] == ("div", {"class": "scroll", "tabindex": "0"})


@pytest.mark.parametrize(("rows", "name"), [(60, "scroll"), (61, "scroll tall")])
def test_only_a_long_table_has_a_box_of_its_own(rows: int, name: str) -> None:
    page = Page("t", "", [Section("s", "", [Table(["a"], [["1"]] * rows)])])
    assert ("div", {"class": name, "tabindex": "0"}) in Parsed(render(page, Path())).tags


def test_marked_cells_are_marked_by_sign_and_class() -> None:
    row: list[str | Cell] = ["x", Cell("82.1", "better"), Cell("70.0", "worse"), Cell("not run", "missing"), "3"]
    parsed = Parsed(render(Page("t", "", [Section("s", "", [Table(["", "a", "b", "c", "d"], [row])])]), Path()))
    assert parsed.tables[0][1] == ["x", "▲ 82.1", "▼ 70.0", "∅ not run", "3"]
    assert parsed.classes[0][1] == ["", "better number", "worse number", "missing number", "number"]
    assert "▲ better, ▼ worse, ∅ missing" in parsed.text


def test_columns_of_numbers_are_aligned_as_such() -> None:
    cells = ["1,234", "0.5 ± 0.1", "82.1 ± 0.6 (+0.3)", "1.2e-05", "12.5%", "-3", "-", "-0.1250", ""]
    words = ["word", "3 seeds", "256 x 64", "1.2.x"]
    rows = [[str(number), cell] for number, cell in enumerate(cells)]
    parsed = Parsed(render(Page("t", "", [Section("s", "", [Table(["a", "b"], rows)])]), Path()))
    assert parsed.classes[0][0] == ["number", "number"]
    for word in words:
        table = Table(["a", "b"], [*rows, ["9", word]])
        parsed = Parsed(render(Page("t", "", [Section("s", "", [table])]), Path()))
        assert parsed.classes[0][0] == ["number", ""]


def test_a_checksum_may_be_broken_on_a_narrow_screen() -> None:
    table = Table((), [["SHA-256", "0" * 64], ["many words", "word " * 20]])
    parsed = Parsed(render(Page("t", "", [Section("s", "", [table])]), Path()))
    assert parsed.classes == [[["", "long"], ["", ""]]]
    assert ".long" in parsed.style


def test_texts_have_paragraphs_and_code() -> None:
    parsed = Parsed(render(Page("t", "First `a < b` there.\n\nSecond\nline ` odd."), Path()))
    assert [tag for tag, _ in parsed.tags].count("p") == 2
    assert [tag for tag, _ in parsed.tags].count("code") == 1
    assert "First a < b there.\nSecond line ` odd.\n" in parsed.text


def test_a_figure_that_is_not_there_is_a_problem_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(PNG)
    figures = [Figure("there.png", "one"), Figure("gone.png", "two"), Figure(PNG, "three")]
    parsed = Parsed(render(Page("t", "", [Section("s", "", figures)]), tmp_path))
    assert parsed.images() == [PNG, PNG]
    assert parsed.problems() == 1
    assert f"{tmp_path / 'gone.png'}: can't be read" in parsed.text
