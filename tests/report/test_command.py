"""`ugts report` on the command line: what it takes, what it refuses, what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs.helpers import snapshot
from tests.report.parsed import Parsed
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.report.markdown import write_page
from ugts_dist.report.page import Cell, Page, Section, Table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an unfinished run."""
    copy = tmp_path / "mine"
    copy.mkdir()
    (copy / "config.toml").write_text(Config().to_toml())
    return copy


@pytest.fixture
def reproduction(tmp_path: Path) -> Path:
    """The folder of a reproduction."""
    place = tmp_path / "reproduction"
    place.mkdir()
    table = Table(["", "Cora"], [["published", "81.5"], ["ours", Cell("82.1 (+0.6)", "better")]])
    write_page(Page("The paper, reproduced", "Intro.", [Section("Table 1", "", [table])]), place)
    return place


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["report", *args])
    shown = capsys.readouterr()
    assert stop.value.code == 2
    assert shown.out == ""
    assert shown.err.startswith("ugts: ")
    assert shown.err.count("\n") == 1
    return shown.err


def test_the_page_is_written_into_the_folder_and_its_path_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(folder)])
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    parsed = Parsed.of(folder / "report.html")
    assert "This run is not finished" in parsed.text
    assert sorted(file.name for file in folder.iterdir()) == ["config.toml", "report.html"]


def test_an_earlier_report_is_replaced_with_the_same_bytes(folder: Path) -> None:
    main(["report", str(folder)])
    before = (folder / "report.html").read_bytes()
    main(["report", str(folder)])
    assert (folder / "report.html").read_bytes() == before


def test_out_names_the_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(folder), "--out", str(tmp_path / "mine.html")])
    assert capsys.readouterr().out == f"{tmp_path / 'mine.html'}\n"
    assert (tmp_path / "mine.html").exists()
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("content", ["<!DOCTYPE html>\n<html><head><title>mine</title></head></html>", "", "\xff\x00"])
def test_another_file_is_left_alone(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "report.html").write_bytes(content.encode("latin-1"))
    assert "report.html: exists and is no report" in refused(capsys, str(folder))
    assert (folder / "report.html").read_bytes() == content.encode("latin-1")


def test_links_and_folders_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "report.html").symlink_to(folder / "none")
    assert "exists and is no regular file" in refused(capsys, str(folder))
    assert "exists and is no regular file" in refused(capsys, str(folder), "--out", str(folder))


def test_what_is_no_run_search_or_reproduction_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path}: neither a run (config.toml) nor a search (space.toml)" in refused(capsys, str(tmp_path))
    (tmp_path / "file").write_text("")
    for name in ("file", "none"):
        assert f"{tmp_path / name}: not a folder" in refused(capsys, str(tmp_path / name))
    assert "FOLDER" in refused(capsys)


def test_a_place_that_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, str(folder), "--out", str(folder / "none" / "x.html"))
    assert f"{folder / 'none'} is no folder" in told


def test_a_file_that_can_not_be_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{'x' * 250}.html"  # with its temporary name it is too long for a file
    assert "can't be written (File name too long)" in refused(capsys, str(folder), "--out", str(folder / name))


def test_the_page_of_a_reproduction_is_there_already(
    reproduction: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(reproduction)
    main(["report", str(reproduction)])
    assert capsys.readouterr().out == f"{reproduction / 'index.html'}\n"
    assert "is there already" in refused(capsys, str(reproduction), "--out", str(tmp_path / "x.html"))
    assert snapshot(reproduction) == before
    assert not (tmp_path / "x.html").exists()


def test_a_run_is_reported_anew_though_its_page_is_named_index(folder: Path) -> None:
    page = folder / "index.html"
    main(["report", str(folder), "--out", str(page)])
    first = page.read_bytes()
    main(["report", str(folder), "--out", str(page)])
    assert page.read_bytes() == first
    main(["report", str(folder)])
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("content", [None, "<html>mine</html>"])
def test_a_reproduction_without_its_page_is_told_how_it_is_written(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    if content is not None:
        (tmp_path / "index.html").write_text(content)
    assert f"`ugts reproduce NAME --draw --folder {tmp_path}`" in refused(capsys, str(tmp_path))
