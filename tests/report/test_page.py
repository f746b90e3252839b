"""Pages as data: what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.pages import PNG
from ugts_dist.errors import InputError
from ugts_dist.report.page import Figure, Table


def test_rows_of_pairs_have_one_length() -> None:
    Table((), [["a", "b"], ["c", "d"]])
    with pytest.raises(InputError, match="row 1 of a table has 1 cells, allowed are 2"):
        Table((), [["a", "b"], ["c"]])


def test_a_figure_is_a_png_that_is_not_too_large(tmp_path: Path) -> None:
    (tmp_path / "right.png").write_bytes(PNG)
    (tmp_path / "other.png").write_bytes(b"<svg onload='alert(1)'/>")
    (tmp_path / "large.png").write_bytes(PNG + bytes(2**21))
    assert Figure("right.png", "").read(tmp_path) == PNG
    for name, message in (("other", "not a PNG"), ("large", "more than"), ("none", "can't be read")):
        with pytest.raises(InputError, match=f"{name}.png: {message}"):
            Figure(f"{name}.png", "").read(tmp_path)
