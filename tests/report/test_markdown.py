"""The page as Markdown, read by markdown-it, which knows CommonMark and GitHub's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.report.pages import PNG
from tests.report.parsed import Parsed
from ugts_dist.errors import InputError
from ugts_dist.report.markdown import to_markdown, write_page
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Page, Paragraph, Problem, Section, Table

# Control characters are left out: CommonMark drops or replaces them.
words = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" `*_[]<>|\\&#~-+=.1)!$"), max_size=25)


def tokens(page: Page) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(to_markdown(page))


def shown(token: Token) -> str:
    """The text of an inline token as a reader sees it; no token may be markup."""
    parts = token.children or []
    assert {part.type for part in parts} <= {"text", "text_special", "code_inline", "softbreak"}, parts
    return "".join(part.content for part in parts)


def squeezed(text: str) -> str:
    return " ".join(text.split())


@given(words)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    without_code = text.replace("`", "")
    page = Page("t", "", [Section("s", "", [Paragraph(without_code)])])
    inline = [token for token in tokens(page) if token.type == "inline"][2:]
    assert [shown(token) for token in inline] == ([squeezed(without_code)] if without_code.strip() else [])
    assert {token.type for token in tokens(page)} <= {
        *("html_block", "heading_open", "heading_close", "inline", "paragraph_open", "paragraph_close")
    }


@given(
    st.lists(st.lists(words, min_size=3, max_size=3), min_size=1, max_size=4), st.lists(words, min_size=3, max_size=3)
)
def test_a_table_is_read_as_it_was_written(rows: list[list[str]], headings: list[str]) -> None:
    page = Page("t", "", [Section("s", "", [Table(headings, rows)])])
    assert read_table(tokens(page)) == [[squeezed(cell) for cell in row] for row in (headings, *rows)]


def read_table(parsed: list[Token]) -> list[list[str]]:
    rows: list[list[str]] = []
    for place, token in enumerate(parsed):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("th_open", "td_open"):
            rows[-1].append(shown(parsed[place + 1]))
    return rows


def test_pairs_have_empty_headings_and_signs_are_told() -> None:
    table = Table((), [["a", Cell("1", "better")], ["b", Cell("2", "missing")]], "A note.")
    parsed = tokens(Page("t", "", [Section("s", "", [table])]))
    assert read_table(parsed) == [["", ""], ["a", "▲ 1"], ["b", "∅ 2"]]
    told = [shown(token) for token in parsed if token.type == "inline"]
    assert told[-2:] == ["A note.", "▲ better, ∅ missing"]


def test_code_stays_as_it_is() -> None:
    text = "```\n<b> *x* | `y`\n"
    parsed = tokens(Page("t", "Run `a | b` now.", [Section("s", "", [Code(text)])]))
    (fence,) = [token for token in parsed if token.type == "fence"]
    assert fence.content == text
    assert any(
        part.type == "code_inline" and part.content == "a | b" for token in parsed for part in token.children or []
    )


def test_the_title_of_details_is_no_markup() -> None:
    hostile = "<b>*x*</b> </summary>\n\n# h"
    (opened,) = [
        token.content
        for token in tokens(Page("t", "", [Section("s", "", [Details(hostile, Paragraph("inside"))])]))
        if token.type == "html_block" and "details" in token.content and "/details" not in token.content
    ]
    parsed = Parsed(f"{opened}</details>")
    assert [tag for tag, _ in parsed.tags] == ["details", "summary"]
    assert "<b>*x*</b> </summary> # h" in parsed.text


def page() -> Page:
    blocks: list[Block] = [
        Table(["seed", "test"], [["0", Cell("82.1", "better")]]),
        Figure(PNG, "curves <b>"),
        Figure("own figure.png", "own"),
        Details("more", Figure(PNG, "hidden")),
        Problem("x.json: damaged"),
    ]
    return Page("A page", "Intro.", [Section("One", "Text.", blocks)])


def test_a_page_is_written_with_its_figures_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own figure.png").write_bytes(PNG)
    write_page(page(), tmp_path)
    names = ["README.md", "figure-1.png", "figure-3.png", "index.html", "own figure.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert (tmp_path / "figure-1.png").read_bytes() == PNG
    parsed = MarkdownIt("commonmark").parse((tmp_path / "README.md").read_text())
    images = [part for token in parsed for part in token.children or [] if part.type == "image"]
    assert [image.attrs["src"] for image in images] == ["figure-1.png", "own%20figure.png", "figure-3.png"]
    assert images[0].content == "curves \\<b\\>"
    assert Parsed.of(tmp_path / "index.html").images() == [PNG, PNG, PNG]


def test_only_pages_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "own figure.png").write_bytes(PNG)
    write_page(page(), tmp_path)
    write_page(Page("Another", "", page().sections), tmp_path)
    assert "# Another" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("# Mine\n")
    before = (tmp_path / "index.html").read_bytes()
    with pytest.raises(InputError, match=r"README\.md: exists and is no report"):
        write_page(page(), tmp_path)
    (tmp_path / "README.md").unlink()
    with pytest.raises(InputError, match=r"figure-1\.png: exists, and is no figure of a page"):
        write_page(page(), tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_missing_figure_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own figure.png: can't be read"):
        write_page(page(), tmp_path)
    assert list(tmp_path.iterdir()) == []
