"""The answer for the user: a table on the terminal, a line with the best matching ticket, and a plot."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from tuning.answer import Point, front
from tuning.plan import shown
from tuning.results import Answer
from ugts_dist.atomic import write_file
from ugts_dist.console import new_table, output, plain
from ugts_dist.plots import new_plot, png
from ugts_dist.report.search_files import BEST, Objective
from ugts_dist.terminal import say


def show(answer: Answer, name: str, folder: Path) -> None:
    """Print the table and the sparsest or smallest matching ticket."""
    output().print(table_of(answer, name))
    for line in summary(answer):
        say(line)
    say(f"search {folder}")
    say(f"plot   {folder / 'front.png'}")
    if answer.winners:
        say(f"best   ugts train --config {folder / 'best.toml'}")


def table_of(answer: Answer, name: str) -> Table:
    """The front with the trained dense network on top; mean and standard deviation over seeds."""
    fields = sorted({field for winner in answer.winners for field in winner.fields} - {"supermask.sparsity"})
    title = f"{name}: front of {answer.objective} and validation {answer.metric}"
    with_bytes = answer.objective == "bytes"
    headings = (
        "",
        *(["bytes"] if with_bytes else []),
        "sparsity",
        *(field.partition(".")[2] for field in fields),
        "validation",
        "test",
        "seeds",
        "matches",
    )
    table = new_table(title, headings)
    for winner in [*([answer.dense] if answer.dense else []), *answer.winners]:
        values = [shown(winner.fields[field]) if field in winner.fields else "" for field in fields]
        kind = "trained dense" if winner.dense else "ticket"
        judged = "yes" if winner.matches else "no"
        figures = (f"{winner.valid:.4f}", f"{winner.test:.4f}", str(winner.valid.count))
        known = "" if winner.dense or answer.dense is None else judged
        size = [f"{winner.bytes.mean:,.0f}"] if with_bytes else []
        table.add_row(kind, *size, f"{winner.sparsity:.4f}", *map(plain, values), *figures, known)
    return table


def summary(answer: Answer) -> list[str]:
    """Lines below the table."""
    lines = [", ".join(f"{count} {state}" for state, count in answer.trials.items()) + " (trials)"]
    if answer.dense is None:
        return lines
    limit = f"at {'least' if answer.higher_is_better else 'most'} {answer.limit(answer.dense)}"
    if answer.best is None:
        return [*lines, f"no ticket on the front matches the trained dense network (validation {limit})"]
    best = answer.winners[answer.best]
    where = ", ".join(f"{field.partition('.')[2]} {shown(value)}" for field, value in best.fields.items())
    measured = f"validation {best.valid.mean:.4f} against {limit}; test {best.test:.4f}"
    figure = f"sparsity {best.sparsity:.4f}"
    if answer.objective == "bytes":
        figure = f"{best.bytes.mean:,.0f} bytes, {figure}"
    return [*lines, f"{BEST[answer.objective]} matching ticket: {figure} ({where}), {measured}"]


def plot(answer: Answer, name: str, path: Path) -> None:
    """Plot every finished ticket, the front, the dense network with its tolerance, and the best match."""
    figure, axes = new_plot(7, 4.5)
    objective = answer.objective
    all_tickets = _columns(answer.points, objective)
    axes.plot(*all_tickets, linestyle="", marker=".", color="silver", label="tickets, one seed")
    on_front = [answer.points[i] for i in front(answer.points, answer.goal)]
    axes.plot(*_columns(on_front, objective), color="C0", linewidth=1, label="front, one seed")
    if answer.dense is not None:
        valid = answer.dense.valid
        axes.axhline(valid.mean, color="black", linestyle="--", label="trained dense")
        limit = valid.mean - answer.goal.quality(answer.tolerance)
        axes.axhspan(*sorted((limit, valid.mean)), color="black", alpha=0.1, label="matching")
    for winner in answer.winners:
        figures = _columns([winner.point], objective)
        axes.errorbar(*figures, [winner.valid.deviation], marker="o", color="C0", capsize=3)
    if answer.best is not None:
        best = _columns([answer.winners[answer.best].point], objective)
        axes.plot(*best, "*", color="C3", markersize=14, label=f"{BEST[objective]} matching ticket")
    is_sparsity = objective == "sparsity"
    axes.set(xlabel="sparsity" if is_sparsity else "bytes of the ticket", ylabel=f"validation {answer.metric}")
    axes.set(title=name, xscale="linear" if is_sparsity else "log")
    axes.legend(fontsize="small", loc="lower left" if is_sparsity else "lower right")
    write_file(path, png(figure))


def _columns(points: list[Point], objective: Objective) -> tuple[list[float], list[float]]:
    """The values on the two axes of the plot."""
    return [getattr(point, objective) for point in points], [point.valid for point in points]
