"""The answer for people: a table on the terminal, a line with the sparsest matching ticket, and a plot."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from tuning.answer import Point, Spread, front
from tuning.plan import shown
from tuning.results import Answer, Winner
from ugts_dist.console import output, plain
from ugts_dist.terminal import say


def show(answer: Answer, name: str, folder: Path) -> None:
    """Print the table and the sparsest matching ticket."""
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
    table = Table(title=plain(f"{name}: front of sparsity and validation {answer.metric}"), title_justify="left")
    headings = (
        "",
        "sparsity",
        *(field.partition(".")[2] for field in fields),
        "validation",
        "test",
        "seeds",
        "matches",
    )
    for heading in headings:
        table.add_column(plain(heading), justify="right" if heading else "left")
    for winner in [*([answer.dense] if answer.dense else []), *answer.winners]:
        values = [shown(winner.fields[field]) if field in winner.fields else "" for field in fields]
        kind = "trained dense" if winner.dense else "ticket"
        judged = "yes" if winner.matches else "no"
        figures = (_told(winner.valid), _told(winner.test), str(winner.valid.count))
        known = "" if winner.dense or answer.dense is None else judged
        table.add_row(kind, f"{winner.sparsity:.4f}", *map(plain, values), *figures, known)
    return table


def summary(answer: Answer) -> list[str]:
    """What there is to say beside the table."""
    lines = [", ".join(f"{count} {state}" for state, count in answer.trials.items()) + " (trials)"]
    if answer.dense is None:
        return lines
    limit = f"{answer.dense.valid.mean:.4f} - {answer.tolerance:.4f}"
    if answer.sparsest is None:
        return [*lines, f"no ticket on the front matches the trained dense network (validation at least {limit})"]
    best = answer.winners[answer.sparsest]
    where = ", ".join(f"{field.partition('.')[2]} {shown(value)}" for field, value in best.fields.items())
    measured = f"validation {best.valid.mean:.4f} against at least {limit}; test {_told(best.test)}"
    return [*lines, f"sparsest matching ticket: sparsity {best.sparsity:.4f} ({where}), {measured}"]


def plot(answer: Answer, name: str, path: Path) -> None:
    """Every finished ticket, the front, the dense network with what counts as matching, the sparsest match."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(*_columns(answer.points), linestyle="", marker=".", color="silver", label="tickets, one seed")
    on_front = [answer.points[i] for i in front(answer.points)]
    axes.plot(*_columns(on_front), color="C0", linewidth=1, label="front, one seed")
    if answer.dense is not None:
        valid = answer.dense.valid
        axes.axhline(valid.mean, color="black", linestyle="--", label="trained dense")
        axes.axhspan(valid.mean - answer.tolerance, valid.mean, color="black", alpha=0.1, label="matching")
    for winner in answer.winners:
        _errorbar(axes, winner)
    if answer.sparsest is not None:
        best = answer.winners[answer.sparsest]
        axes.plot([best.sparsity], [best.valid.mean], "*", color="C3", markersize=14, label="sparsest matching ticket")
    axes.set(xlabel="sparsity", ylabel=f"validation {answer.metric}", title=name)
    axes.legend(fontsize="small", loc="lower left")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _errorbar(axes: object, winner: Winner) -> None:
    axes.errorbar(  # type: ignore[attr-defined]
        [winner.sparsity], [winner.valid.mean], [winner.valid.deviation], marker="o", color="C0", capsize=3
    )


def _columns(points: list[Point]) -> tuple[list[float], list[float]]:
    return [point.sparsity for point in points], [point.valid for point in points]


def _told(values: Spread) -> str:
    return f"{values.mean:.4f} ± {values.deviation:.4f}" if values.count > 1 else f"{values.mean:.4f}"
