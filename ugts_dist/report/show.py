"""The text of a page in a terminal: its tables, without figures and what is folded."""

from __future__ import annotations

from rich.console import Console

from ugts_dist.console import new_table, plain
from ugts_dist.report.page import Block, Page, Paragraph, Problem, Table
from ugts_dist.report.text import cell_text, numeric_columns


def show(page: Page, console: Console) -> None:
    """Print a page."""
    console.print(plain(page.intro))
    for section in page.sections:
        texts = [section.text] if section.text else []
        blocks = [block for block in section.blocks if isinstance(block, Table | Paragraph | Problem)]
        if texts or blocks:
            console.print()
            console.print(plain(section.title, "bold"))
        for text in texts:
            console.print(plain(text))
        for block in blocks:
            _show(block, console)


def _show(block: Block, console: Console) -> None:
    match block:
        case Table():
            table = new_table("", block.headings, numbers=False)
            table.box, table.padding, table.pad_edge = None, (0, 2, 0, 0), False
            for column, is_number in zip(table.columns, numeric_columns(block), strict=True):
                column.justify = "right" if is_number else "left"
                column.no_wrap, column.min_width = is_number, len(str(column.header))
            for row in block.rows:
                table.add_row(*(plain(cell_text(cell)) for cell in row))
            console.print(table)
        case Paragraph() | Problem():
            console.print(plain(block.text))
