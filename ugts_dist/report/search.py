"""The page of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ugts_dist.config import flat
from ugts_dist.report import figures
from ugts_dist.report.files import number
from ugts_dist.report.page import Block, Cell, Code, Details, Figure, Page, Paragraph, Problem, Section, Table
from ugts_dist.report.search_files import BEST, SPACE, Answer, SearchFiles, Trial, Winner, read_search
from ugts_dist.report.text import setting, shown

_OPEN = ("waiting", "running", "lost")
_FEW_TRIALS = 12
_MOST_TRIALS = 1000
_FIGURES = ("sparsity", "valid", "test", "epoch", "seconds", "bytes")


def search_page(folder: Path) -> Page:
    """The page of a search that is finished or running. Raises InputError if none of it can be read."""
    search = read_search(folder)
    sections = [
        Section("Answer", blocks=[*_problems(search), *_answer(search)]),
        Section(f"Front of {_objective(search)} and validation metric", blocks=list(_front(search))),
        Section("Trials", _counts(search), list(_trials(search))),
        Section("Space", "What was searched.", list(_space(search))),
    ]
    return Page(f"Search {folder.resolve().name}", _intro(search), sections)


def _objective(search: SearchFiles) -> str:
    """The second objective of the search: sparsity or bytes."""
    return search.answer.objective if search.answer else str(search.search.get("objective", "sparsity"))


def _intro(search: SearchFiles) -> str:
    answer = search.answer
    if answer is None:
        return "This search has no answer yet. Test metrics are read of its winners alone, and so of no trial so far."
    waiting = sum(trial.state in _OPEN for trial in search.trials)
    more = f" {waiting} trials are not over: the answer is that of the others." if waiting else ""
    if answer.dense is None:
        return f"The search trained no dense network, so that there is none to match.{more}"
    limit = _limit(search, answer, answer.dense)
    if answer.best is None:
        return f"No ticket of the front matches the best trained dense network. {limit}{more}"
    best, dense = answer.winners[answer.best], answer.dense
    seeds = f" (means over {best.valid.count} seeds)" if best.valid.count > 1 else ""
    compared = ", ".join(
        f"{name} {answer.metric} {ticket.mean:.4f} against {trained.mean:.4f}"
        for name, ticket, trained in (("validation", best.valid, dense.valid), ("test", best.test, dense.test))
    )
    size = f"{best.bytes.mean:,.0f} bytes and " if answer.objective == "bytes" and best.bytes is not None else ""
    return (
        f"The {BEST[answer.objective]} ticket that matches the best trained dense network has {size}sparsity "
        f"{best.sparsity:.4f}: {compared}{seeds}. {limit}{more}"
    )


def _limit(search: SearchFiles, answer: Answer, dense: Winner) -> str:
    """The rule by which a ticket matches."""
    is_deviation = search.search.get("margin") == -1.0
    reason = "one standard deviation of the dense network's" if is_deviation else "the margin"
    bound = "at least" if answer.higher_is_better else "at most"
    return f"A ticket matches with a validation {answer.metric} of {bound} {answer.limit(dense)} ({reason})."


def _problems(search: SearchFiles) -> Iterator[Block]:
    for problem in search.folder.problems:
        yield Problem(problem)


def _answer(search: SearchFiles) -> Iterator[Block]:
    answer = search.answer
    if answer is None:
        yield Paragraph(f"Go on with it: `ugts tune --resume {search.folder.path.resolve().name}`.")
        return
    fields = sorted({field for winner in answer.winners for field in winner.fields} - {"supermask.sparsity"})
    headings = [
        "",
        "sparsity",
        *fields,
        f"validation {answer.metric}",
        f"test {answer.metric}",
        "seeds",
        "bytes",
        "matches",
    ]
    winners = [*([answer.dense] if answer.dense else []), *answer.winners]
    bytes_of = {trial.key: trial.values.get("bytes") for trial in search.trials}
    best = None if answer.best is None else answer.winners[answer.best]
    rows = []
    for winner in winners:
        match = f"{BEST[answer.objective]} match"
        name = "trained dense" if winner.dense else match if winner is best else "ticket"
        values = [setting(winner.fields.get(field)) for field in fields]
        judged = "yes" if winner.matches else "no"
        rows.append(
            [
                name,
                f"{winner.sparsity:.4f}",
                *values,
                f"{winner.valid:.4f}",
                f"{winner.test:.4f}",
                str(winner.valid.count),
                shown(bytes_of.get(winner.key)),
                "" if winner.dense or answer.dense is None else judged,
            ]
        )
    yield Table(headings, rows, "Mean and standard deviation over seeds; bytes are those of the first seed's file.")
    if search.best:
        yield Paragraph("The answer again, in the folder of the search: `ugts train --config best.toml`.")
        yield Details("best.toml", Code(search.best))


def _front(search: SearchFiles) -> Iterator[Block]:
    if search.folder.has("front.png"):
        yield Figure("front.png", "Every finished ticket, the front, and the best trained dense network")
        return
    objective = _objective(search)
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for trial in search.trials:
        figure, valid = number(trial.values, objective), number(trial.values, "valid")
        # The dense network's file is hundreds of times larger: tickets would be one point beside it.
        if figure is not None and valid is not None and not (trial.dense and objective == "bytes"):
            x, y = groups.setdefault("trained dense" if trial.dense else "tickets", ([], []))
            x.append(figure)
            y.append(valid)
    if groups:
        metric = search.metric or "metric"
        yield Figure(figures.points(groups, objective, f"validation {metric}"), "Finished trials, one seed each")
    else:
        yield Paragraph("No trial is finished yet.")


def _counts(search: SearchFiles) -> str:
    states = [trial.state for trial in search.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted({*states}))
    return f"{len(states)} runs: {counts}." if states else "None is known yet."


def _trials(search: SearchFiles) -> Iterator[Block]:
    if not search.trials:
        return
    trials = search.trials[:_MOST_TRIALS]
    fields = list(dict.fromkeys(field for trial in trials for field in trial.fields))
    known = [name for name in _FIGURES if any(trial.values.get(name) is not None for trial in trials)]
    messages = any(trial.values.get("message") for trial in trials)
    headings = ["run", *fields, "seed", "state", *known, "folder in runs", *(["message"] if messages else [])]
    rows = [_row(trial, fields, known, messages) for trial in trials]
    left_out = f"The first {_MOST_TRIALS} of {len(search.trials):,}. " if len(search.trials) > _MOST_TRIALS else ""
    table = Table(headings, rows, f"{left_out}Test metrics are those of winners alone.")
    yield table if len(rows) <= _FEW_TRIALS else Details("All runs", table)


def _row(trial: Trial, fields: list[str], names: list[str], messages: bool) -> list[str | Cell]:
    state: str | Cell = Cell(trial.state, "worse") if trial.state == "failed" else trial.state
    kind = "dense" if trial.dense else "ticket"
    # Fields that vary have separate columns, if they are known.
    name = kind if fields else trial.label or kind
    hidden = "supermask.sparsity" if trial.dense else ""
    values = ["-" if field == hidden else setting(trial.fields.get(field)) for field in fields]
    figures_of = [shown(trial.values.get(figure)) for figure in names]
    message = [shown(trial.values.get("message"))] if messages else []
    return [name, *values, shown(trial.values.get("seed")), state, *figures_of, trial.key, *message]


def _space(search: SearchFiles) -> Iterator[Block]:
    varied = [(name, _domain(domain)) for name, domain in search.fields.items()]
    if varied:
        yield Table(("field", "values"), varied)
    options = [(name, setting(value)) for name, value in flat(search.search).items()]
    if options:
        yield Details("How it was searched", Table((), options))
    if search.space:
        yield Details(SPACE, Code(search.space))


def _domain(domain: Any) -> str:
    """`grid 0.5, 0.9` of {"grid": [0.5, 0.9]}."""
    if not isinstance(domain, Mapping):
        return shown(domain)
    listed = ((name, values if isinstance(values, list) else [values]) for name, values in domain.items())
    return "; ".join(f"{name} {', '.join(map(setting, values))}" for name, values in listed)
