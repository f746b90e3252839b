"""Pages for tests: a valid PNG, and pages with any texts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ugts_dist.report.figures import curves
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Page, Paragraph, Problem, Section, Table

PNG = curves({"loss": ([0.0, 1.0], [2.0, 1.0])}, "loss")

texts = st.text(max_size=30)
kinds: st.SearchStrategy[Any] = st.sampled_from(["plain", "better", "worse", "missing", "best"])
cells = st.one_of(texts, st.builds(Cell, texts, kinds))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    width = draw(st.integers(1, 4))
    row = st.lists(cells, min_size=width, max_size=width)
    return Table(draw(st.lists(texts, min_size=width, max_size=width)), draw(st.lists(row, max_size=4)), draw(texts))


simple: st.SearchStrategy[Block] = st.one_of(
    tables(),
    st.builds(Figure, st.just(PNG), texts),
    st.builds(Paragraph, texts),
    st.builds(Problem, texts),
    st.builds(Code, texts),
)
blocks = st.one_of(simple, st.builds(Details, texts, simple))
sections = st.builds(Section, texts, texts, st.lists(blocks, max_size=4))
pages = st.builds(Page, texts, texts, st.lists(sections, max_size=3))
