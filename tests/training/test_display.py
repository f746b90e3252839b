from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ugts_dist.config_sections import LogConfig
from ugts_dist.training.display import Bar, Lines, NotebookBar, display_for

METRICS = {"sparsity": 0.45, "loss": 1.234, "valid": 0.8123}


def drawn(width: int) -> str:
    """What stands on a terminal of this width when epoch 119 of 400 has been measured."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with Bar("no-gradual-0.995", "accuracy", 400, 0, console) as bar:
        bar.show(0.5)
        bar.show(119, METRICS)
    lines = [line.removeprefix("\x1b[2K") for line in out.getvalue().replace("\r", "\n").split("\n")]
    return next(line for line in reversed(lines) if "119/400" in line)


@pytest.mark.parametrize(
    ("width", "note"),
    [
        (50, ""),
        (60, "valid 0.812"),
        (80, "sparsity 0.450  valid 0.812"),
        (100, "sparsity 0.450  loss 1.234  validation accuracy 0.812"),
        (200, "sparsity 0.450  loss 1.234  validation accuracy 0.812"),
    ],
)
def test_a_bar_of_any_width_has_epochs_and_the_time_left(width: int, note: str) -> None:
    line = drawn(width)
    assert len(line) <= width
    assert line.startswith("no-gradual-0.995 ")
    _, separator, rest = line.partition("119/400 0:0")
    assert separator
    assert rest.partition(" ")[2].strip() == note


def test_a_bar_does_not_act_on_what_a_label_holds() -> None:
    out = io.StringIO()
    with Bar("\x1b[2J[red]x", "accuracy", 4, 0, Console(file=out, width=80, force_terminal=True, color_system=None)):
        pass
    assert r"\x1b[2J[red]x" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


@pytest.fixture
def clock() -> list[float]:
    """The time, which a test sets."""
    return [0.0]


def test_lines_come_early_then_seldom_and_tell_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Lines("accuracy", 400, 0, 30.0, lambda: clock[0]) as lines:
        for second in range(1, 101):  # an epoch a second
            clock[0] = float(second)
            lines.show(second, METRICS)
    assert capsys.readouterr().err.splitlines() == [
        f"ugts: {epoch} of 400 epochs, sparsity 0.450, loss 1.234, validation accuracy 0.812, 0:0{left} left"
        for epoch, left in ((1, "6:39"), (31, "6:09"), (61, "5:39"), (91, "5:09"))
    ]


def test_lines_of_long_epochs_tell_parts_of_them(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Lines("accuracy", 20, 10, 30.0, lambda: clock[0]) as lines:  # a resumed run
        for second in range(1, 61):  # 10,000 s an epoch
            clock[0] = float(second)
            lines.show(10 + second / 1e4)
    assert capsys.readouterr().err.splitlines() == [
        f"ugts: {done} of 20 epochs, 1 day, 3:46:{left} left" for done, left in (("10.001", "30"), ("10.004", "00"))
    ]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What IPython would send to a browser: a new output, or another picture of it."""
    pictures: list[str] = []

    def picture(shown: Any) -> str:
        return shown._repr_mimebundle_([], [])["text/html"]

    def display(shown: Any, display_id: bool) -> Any:
        assert display_id
        pictures.append(f"new {picture(shown)}")
        return SimpleNamespace(update=lambda other: pictures.append(picture(other)))

    module = ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return pictures


def test_a_bar_in_a_notebook_is_one_output_that_changes_seldom(
    sent: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(
        "rich._console", None
    )  # IPython gets a picture from it; an earlier test may have made a narrow one
    with display_for(LogConfig(), "ugts-0.9", "accuracy", 2000, 0, is_main=True) as bar:
        assert isinstance(bar, NotebookBar)
        for epoch in range(2000):
            bar.show(epoch + 1, METRICS)
    assert [picture[:4] == "new " for picture in sent] == [True] + [False] * (len(sent) - 1)
    assert len(sent) < 100  # four a second
    assert "2000/2000" in sent[-1]
    assert "validation accuracy 0.812" in sent[-1]
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the program that runs notebooks; the kernel is another process
def test_a_run_in_a_real_notebook_has_one_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    code = """
from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.training.run import run
short = {"run.epochs": 60, "model.width": 16, "run.folder": "mine", "log.to": []}
run(load_preset("digits").replace(short), Ranks());
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    (bar,) = (output for output in notebook.cells[0].outputs if output.output_type == "display_data")
    assert "60/60" in bar.data["text/html"]


def test_other_ranks_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (
        display_for(LogConfig(), "ugts-0.9", "accuracy", 2, 0, is_main=False),
        display_for(LogConfig(progress=False), "ugts-0.9", "accuracy", 2, 0, is_main=True),
    ):
        with shown as display:
            display.show(1, METRICS)
    assert capsys.readouterr() == ("", "")
