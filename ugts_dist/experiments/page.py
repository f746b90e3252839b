"""The page of a reproduction: a table for each panel, with our mean and deviation beside the published figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ugts_dist.analysis.trace import Trace
from ugts_dist.experiments.measured import Measured, title_of_figures
from ugts_dist.experiments.plots import draw, draw_traces
from ugts_dist.experiments.study import Cell, Panel, Row, Study
from ugts_dist.metrics import Metric
from ugts_dist.report.page import Block, Figure, Kind, Page, Paragraph, Section, Table
from ugts_dist.report.page import Cell as TableCell

_PAPER = """Huang et al., "You Can Have Better Graph Neural Networks by Not Training Weights at All" (LoG 2022, \
arXiv 2211.15335), reproduced. """
_FIGURES = """Figures are {units}: mean ± standard deviation over seeds 0, 1, 2, ...; how many \
stands under each table, or in the cell where it has another number or not all of its runs are finished. The test \
figure is that of the best validation epoch; of a ticket, among the epochs at its target sparsity."""
_PUBLISHED = """

In brackets: how far our mean lies above (+) or below (-) the published figure, in {points}; marked where that is \
more than our deviation over two seeds or more."""
_PERCENT = {"units": "in percent", "points": "points"}
_ANY_METRIC = {"units": "in percent, those of RMSE and MAE in the units of the targets", "points": "points or units"}


def make_page(studies: Sequence[Study], sections: Sequence[Section]) -> Page:
    """The page of several studies and their sections. The same finished runs give the same page."""
    if not all(study.own for study in studies):
        return Page("The paper, reproduced", _PAPER + (_FIGURES + _PUBLISHED).format(**_PERCENT), sections)
    compared = any(cell.published is not None for study in studies for cell in study.cells)
    text = (_FIGURES + (_PUBLISHED if compared else "")).format(**_ANY_METRIC)
    return Page(", ".join(study.name for study in studies), text, sections)


def figures_section(study: Study, measured: Mapping[str, Measured]) -> Section:
    """A study whose cells are figures."""
    blocks: list[Block] = []
    if study.plot and any(each.values for each in measured.values()):
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
            published = _in_columns(row, columns, lambda cell: _published(measured[cell.label]))
            rows.append([f"{row.label}: published", *published])
        rows.append([row.label, *_in_columns(row, columns, lambda cell: _shown(measured[cell.label], usual))])
    figures = title_of_figures(study.measure, (measured[cell.label] for cell in panel.cells))
    heading = ", ".join(filter(None, (panel.title, figures)))
    return Table([f"{heading}; {study.heading}", *(columns or [""])], rows, _note(panel, usual))


def _usual_seeds(panel: Panel) -> int:
    """The number of seeds of most cells; in a tie the largest."""
    counts = Counter(len(cell.configs) for cell in panel.cells)
    return max(counts, key=lambda seeds: (counts[seeds], seeds))


def _in_columns(row: Row, columns: Sequence[str], show: Callable[[Cell], str | TableCell]) -> list[str | TableCell]:
    """The cells of a row by column; a flat row has the same cell in all of them."""
    if row.is_flat:
        return [show(row.cells[0])] * max(1, len(columns))
    cells = {cell.column: show(cell) for cell in row.cells}
    return [cells.get(column, "") for column in columns]


def _published(measured: Measured) -> str:
    return "" if measured.cell.published is None else _figure(measured.cell.published, measured.metric)


def _figure(value: float, metric: Metric, sign: str = "") -> str:
    """A percentage with one digit after the point; targets have any units."""
    return format(value, f"{sign}.1f" if metric.is_fraction else f"{sign}.4g")


def _shown(measured: Measured, usual: int) -> TableCell:
    wanted = len(measured.cell.configs)
    if not measured.values:
        return TableCell(f"failed: {measured.problem}" if measured.problem else "not run", "missing")
    metric = measured.metric
    text = _figure(measured.mean, metric)
    text += f" ± {_figure(measured.deviation, metric)}" if len(measured.values) > 1 else ""
    if len(measured.values) < wanted:
        text += f", {len(measured.values)} of {wanted} seeds"
    elif wanted != usual:
        text += f", {_seeds(wanted)}"
    difference = measured.difference
    if difference is None or measured.cell.published is None:
        return TableCell(text)
    far = len(measured.values) > 1 and abs(difference) > measured.deviation
    kind: Kind = (
        "plain" if not far else "better" if metric.is_better(measured.mean, measured.cell.published) else "worse"
    )
    return TableCell(f"{text} ({_figure(difference, metric, '+')})", kind)


def _note(panel: Panel, usual: int) -> str:
    """The number of seeds of the cells. (No times: the same runs give the same page.)"""
    same = all(len(cell.configs) == usual for cell in panel.cells)
    return f"{_seeds(usual)} a cell{'' if same else ', unless it says another number'}."


def _seeds(number: int) -> str:
    return f"{number} {'seed' if number == 1 else 'seeds'}"
