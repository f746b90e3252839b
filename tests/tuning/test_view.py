from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tests.tuning.helpers import space
from tuning.plan import list_trials
from tuning.view import View
from ugts_dist.metrics import METRICS

TIMES = r" 0:00:0\d (0:00:0\d|-:--:--) *$"


def shown(width: int) -> list[str]:
    """The rows on a terminal of this width, when one trial of four is done and another runs."""
    output = io.StringIO()
    first, second, *_ = trials = list_trials(space())
    console = Console(file=output, force_terminal=True, width=width, color_system=None)
    with View("a-search-with-a-long-name", console) as view:
        view.finished(first, 0.875, 0.5, METRICS["accuracy"])
        view.stage("winners, all seeds", trials, {first.key: "failed"})
        view.row(second)
        view.epoch(second.key, {"epoch": 5, "sparsity": 0.25, "valid": 0.75})
        view._progress.refresh()
        text = output.getvalue()
        view.end(second.key, "finished")
    return text.replace("\r", "\n").replace("\x1b[2K", "").replace("\x1b[1A", "").split("\n")[-2:]


@pytest.mark.parametrize("width", [80, 120, 160])
def test_bars_of_any_width_have_counts_and_times(width: int) -> None:
    whole, trial = shown(width)
    assert max(map(len, (whole, trial))) <= width
    assert whole.startswith("a-search-with-a")
    assert "1 of 4 trials done, 1 failed" in whole
    assert re.search(TIMES, whole)
    assert ("sparsity 0.250  validation 0.750" if width >= 120 else "sparsity 0.250  valid 0.750") in trial
    assert re.search(TIMES, trial)
    assert ("best 0.875" in whole) == (width >= 120)


def test_a_log_has_a_line_early_and_then_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    first, second, third, fourth = trials = list_trials(space())
    epochs = first.config.run.epochs
    with View("small", Console(file=io.StringIO(), force_terminal=False), 30.0, lambda: now) as view:
        view.stage("trials", trials, {first.key: "finished"})
        view.row(second)
        view.row(third)
        for second_passed in range(1, 2 * epochs + 1):
            now = 10.0 * second_passed
            running = second if second_passed <= epochs else third
            view.epoch(running.key, {"epoch": (second_passed - 1) % epochs, "sparsity": 0.25, "valid": 0.75})
            if second_passed == epochs:
                view.finished(second, 0.875, 0.5, METRICS["accuracy"])
                view.end(second.key, "finished")
        view.finished(list_trials(space())[0], 0.5, 0.75, METRICS["accuracy"])
        now += 30
        view.end(third.key, "lost")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ugts: small, trials: 1 of 4 trials done, 0 running"
    assert lines[1] == f"ugts: small, trials: 1 of 4 trials done, 2 running; {_time(10 * (3 * epochs - 3))} left"
    assert lines[-1] == (
        "ugts: small, trials: 3 of 4 trials done, 1 failed, 0 running; "
        f"best ticket so far: validation 0.8750 at sparsity 0.5000; {_time((20 * epochs + 30) / 2)} left"
    )
    assert len(lines) <= 1 + (20 * epochs + 30) // 30 + 1
    assert fourth.label not in "".join(lines)


def _time(seconds: float) -> str:
    return f"0:{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def test_a_dense_network_is_no_best_ticket(capsys: pytest.CaptureFixture[str]) -> None:
    from tuning.plan import list_dense

    with View("small", Console(file=io.StringIO(), force_terminal=False)) as view:
        view.finished(list_dense(space())[0], 0.99, 0.0, METRICS["accuracy"])
        view.stage("trials", [], {})
    assert "best" not in capsys.readouterr().err
