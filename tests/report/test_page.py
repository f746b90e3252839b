"""Pages as data: to JSON and back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.report.pages import PNG, pages
from ugts_dist.errors import InputError
from ugts_dist.report.page import Details, Figure, Page, Paragraph, Section, Table


@given(pages)
def test_a_page_comes_back_from_json(page: Page) -> None:
    values = page.to_dict()
    assert Page.from_dict(json.loads(json.dumps(values))) == page


def page_with(block: Any) -> dict[str, Any]:
    return {"title": "t", "sections": [{"title": "s", "blocks": [block]}]}


def nested(folds: int) -> dict[str, Any]:
    block: dict[str, Any] = {"block": "paragraph", "text": ""}
    for _ in range(folds):
        block = {"block": "details", "title": "", "content": block}
    return block


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "page.json is [], allowed is an object"),
        ({}, "page.json: title is missing"),
        ({"title": 3}, "page.json.title is 3, allowed is a text"),
        ({"title": "t", "sectoins": []}, "page.json: unknown field 'sectoins', allowed are intro, sections, title"),
        ({"title": "t", "sections": {}}, "page.json: sections is {}, allowed is a list"),
        (page_with("text"), "sections[0].blocks[0].block is None, allowed are table, figure"),
        (page_with({"block": "script", "text": ""}), "blocks[0].block is 'script'"),
        (page_with({"block": "table", "headings": ["a"], "rows": [["1", "2"]]}), "has 2 cells, allowed are 1"),
        (page_with({"block": "table", "headings": ["a"], "rows": [[1]]}), "rows[0][0] is 1, allowed is an object"),
        (
            page_with({"block": "table", "headings": [], "rows": [[{"text": "1", "kind": "best"}]]}),
            "rows[0][0].kind is 'best', allowed are plain, better, worse, missing",
        ),
        (page_with({"block": "figure", "caption": ""}), "allowed is one of png, base64"),
        (page_with({"block": "figure", "caption": "", "base64": "*"}), "allowed is a PNG in base64"),
        (page_with({"block": "figure", "caption": "", "png": "/etc/x.png"}), "allowed is a path within the page's"),
        (page_with({"block": "figure", "caption": "", "png": "a/../../x.png"}), "allowed is a path within the page's"),
        (page_with(nested(9)), "more than 8 details in each other"),
    ],
)
def test_a_wrong_page_is_refused_in_one_line_that_names_the_place(values: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        Page.from_dict(values, "page.json")
    assert message in str(refused.value)
    assert str(refused.value).startswith("page.json")
    assert "\n" not in str(refused.value)


def test_eight_details_in_each_other_are_allowed() -> None:
    page = Page.from_dict(page_with(nested(8)))
    block = page.sections[0].blocks[0]
    for _ in range(8):
        assert isinstance(block, Details)
        block = block.block
    assert block == Paragraph("")


def test_rows_of_pairs_have_one_length() -> None:
    Table((), [["a", "b"], ["c", "d"]])
    with pytest.raises(InputError, match="row 1 of a table has 1 cells, allowed are 2"):
        Table((), [["a", "b"], ["c"]])


def test_a_figure_is_a_png_that_is_not_too_large(tmp_path: Path) -> None:
    (tmp_path / "right.png").write_bytes(PNG)
    (tmp_path / "other.png").write_bytes(b"<svg onload='alert(1)'/>")
    (tmp_path / "large.png").write_bytes(PNG + bytes(2**21))
    assert Figure("right.png", "").read(tmp_path) == PNG
    for name, message in (("other", "not a PNG"), ("large", "more than"), ("none", "can't be read")):
        with pytest.raises(InputError, match=f"{name}.png: {message}"):
            Figure(f"{name}.png", "").read(tmp_path)


def test_texts_and_sections_may_be_left_out() -> None:
    assert Page.from_dict({"title": "t", "sections": [{"title": "s"}]}) == Page("t", "", [Section("s", "", [])])
