"""The page of a reproduction: a table for each panel, with our mean and deviation beside the published figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ugts_dist.analysis.trace import Trace
from ugts_dist.experiments.measured import Measured
from ugts_dist.experiments.plots import draw, draw_traces
from ugts_dist.experiments.study import Panel, Row, Study
from ugts_dist.report.page import Block, Figure, Kind, Page, Paragraph, Section, Table
from ugts_dist.report.page import Cell as TableCell

_PAPER = """Huang et al., "You Can Have Better Graph Neural Networks by Not Training Weights at All" (LoG 2022, \
arXiv 2211.15335), reproduced. """
_FIGURES = """Figures are in percent: mean ± standard deviation over seeds 0, 1, 2, ...; how many \
stands under each table, or in the cell where it has another number or not all of its runs are finished. The test \
figure is that of the best validation epoch; of a ticket, among the epochs at its target sparsity."""
_PUBLISHED = """

In brackets: how far our mean lies above (+) or below (-) the published figure, in points; marked where that is \
more than our deviation over two seeds or more."""


def make_page(studies: Sequence[Study], sections: Sequence[Section]) -> Page:
    """The page of several studies and their sections. The same finished runs give the same page."""
    if not all(study.own for study in studies):
        return Page("The paper, reproduced", f"{_PAPER}{_FIGURES}{_PUBLISHED}", sections)
    compared = any(cell.published is not None for study in studies for cell in study.cells)
    return Page(", ".join(study.name for study in studies), _FIGURES + (_PUBLISHED if compared else ""), sections)


def figures_section(study: Study, measured: Mapping[str, Measured]) -> Section:
    """A study whose cells are figures."""
    blocks: list[Block] = []
    if study.plot and any(found.values for found in measured.values()):
        blocks.append(Figure(draw(study, measured), f"{study.title}: what the tables below hold"))
    blocks += [_table(study, panel, measured) for panel in study.panels]
    return Section(study.title, study.text, blocks)


def traces_section(study: Study, traces: Mapping[str, Trace]) -> Section:
    """A study whose cells are traces of training."""
    blocks: list[Block] = []
    if traces:
        caption = f"{study.title}: a curve for each layer, from the first (dark) to the last (light)"
        blocks.append(Figure(draw_traces(study, traces), caption))
    missing = [cell.label for cell in study.cells if cell.label not in traces]
    if missing:
        blocks.append(Paragraph(f"Not run: {'; '.join(missing)}."))
    return Section(study.title, study.text, blocks)


def _table(study: Study, panel: Panel, measured: Mapping[str, Measured]) -> Table:
    columns = [column for column in study.columns if any(cell.column == column for cell in panel.cells)]
    rows: list[list[str | TableCell]] = []
    shown: set[str] = set()
    usual = _usual_seeds(panel)
    for row in panel.rows:
        if row.published and row.published not in shown and any(cell.published is not None for cell in row.cells):
            shown.add(row.published)
            rows.append([f"{row.label}: published", *_published(row, columns)])
        rows.append([row.label, *_ours(row, columns, measured, usual)])
    heading = f"{panel.title}; {study.heading}"
    return Table([heading, *(columns or [""])], rows, _note(panel, usual))


def _usual_seeds(panel: Panel) -> int:
    """The number of seeds of most cells; in a tie the largest."""
    counts = Counter(len(cell.configs) for cell in panel.cells)
    return max(counts, key=lambda seeds: (counts[seeds], seeds))


def _ours(row: Row, columns: Sequence[str], measured: Mapping[str, Measured], usual: int) -> list[str | TableCell]:
    if row.is_flat:
        shown = _shown(measured[row.cells[0].label], usual)
        return [shown] * max(1, len(columns))
    known = {cell.column: cell for cell in row.cells}
    return [_shown(measured[known[column].label], usual) if column in known else "" for column in columns]


def _published(row: Row, columns: Sequence[str]) -> list[str | TableCell]:
    if row.is_flat:
        return [_percent(row.cells[0].published)] * max(1, len(columns))
    figures = {cell.column: cell.published for cell in row.cells}
    return [_percent(figures.get(column)) for column in columns]


def _percent(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.1f}"


def _shown(found: Measured, usual: int) -> TableCell:
    wanted = len(found.cell.configs)
    if not found.values:
        return TableCell(f"failed: {found.problem}" if found.problem else "not run", "missing")
    text = f"{found.mean:.1f} ± {found.deviation:.1f}" if len(found.values) > 1 else f"{found.mean:.1f}"
    if len(found.values) < wanted:
        text += f", {len(found.values)} of {wanted} seeds"
    elif wanted != usual:
        text += f", {_seeds(wanted)}"
    difference = found.difference
    if difference is None:
        return TableCell(text)
    far = len(found.values) > 1 and abs(difference) > found.deviation
    kind: Kind = "plain" if not far else "better" if difference > 0 else "worse"
    return TableCell(f"{text} ({difference:+.1f})", kind)


def _note(panel: Panel, usual: int) -> str:
    """The number of seeds of the cells. (No times: the same runs give the same page.)"""
    same = all(len(cell.configs) == usual for cell in panel.cells)
    return f"{_seeds(usual)} a cell{'' if same else ', unless it says another number'}."


def _seeds(number: int) -> str:
    return f"{number} {'seed' if number == 1 else 'seeds'}"
