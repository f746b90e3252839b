from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs import tables
from ugts_dist.graphs.row_files import edge_table, open_table
from ugts_dist.graphs.tables import Kind

from .stores import write_rows

SUFFIXES = (".npy", ".parquet", ".csv", ".csv.gz")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 256)


def refusal(path: Path, kind: Kind = "integers") -> str:
    """The complaint when the table is opened or read."""
    with pytest.raises(InputError) as error:
        open_table(path, kind).whole()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 2), (500, 3), (37,)])
def test_every_format_gives_the_same_rows_in_blocks(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-(2**62), 2**62, shape)
    table = open_table(Path(write_rows(tmp_path / f"t{suffix}", values)), "integers")
    reports: list[float] = []
    blocks = list(table.read(reports.append))
    np.testing.assert_array_equal(np.concatenate(blocks), values.reshape(shape[0], -1))
    assert table.num_rows in (None, shape[0])
    assert table.num_columns == blocks[0].shape[1]
    assert len(blocks) == len(reports)
    assert (len(blocks) > 1) == (values.nbytes > 256)
    assert reports == sorted(reports)
    assert reports[-1] == 1.0
    np.testing.assert_array_equal(table.whole(), np.concatenate(blocks))  # it can be read again


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_numbers(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).standard_normal((40, 3)) * 10.0 ** np.arange(-20, 20)[:, None]
    table = open_table(Path(write_rows(tmp_path / f"t{suffix}", values)), "numbers")
    np.testing.assert_array_equal(table.whole(), values)
    assert refusal(tmp_path / f"t{suffix}").startswith(f"{tmp_path / f't{suffix}'}")


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_masks_are_ids_but_no_integers(tmp_path: Path, suffix: str) -> None:
    mask = np.arange(50) % 3 == 0
    path = Path(write_rows(tmp_path / f"t{suffix}", mask))
    np.testing.assert_array_equal(open_table(path, "ids").whole()[:, 0], mask)
    assert "bool" in refusal(path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1,2\n3,4", [[1, 2], [3, 4]]),
        ("1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
        ("\ufeff1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("source,destination\n1,2\n", [[1, 2]]),
        ('"source","destination"\n1,2\n', [[1, 2]]),
        ("1\t2\n3\t4\n", [[1, 2], [3, 4]]),
        ("1 2\n3 4\n", [[1, 2], [3, 4]]),
        ("1;2\n", [[1, 2]]),
        ("1, 2\n 3,4 \n", [[1, 2], [3, 4]]),
        ('"1","2"\n', [[1, 2]]),
        ("-1,+2\n", None),
        ("7\n8\n", [[7], [8]]),
    ],
)
def test_csv_as_people_write_it(tmp_path: Path, text: str, rows: list[list[int]] | None) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    if rows is None:
        assert "row 1: '+2' in column 2" in refusal(path)
    else:
        assert open_table(path, "integers").whole().tolist() == rows


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["1,2", "3,abc", "5,6"], "row 2: 'abc' in column 2; allowed: integers"),
        (["a,b", "3,4", "x,6"], "row 3: 'x' in column 1; allowed: integers"),
        (["1,abc", "3,4"], "row 1: 'abc' in column 2; allowed: integers"),
        (["1,2", "3,", "5,6"], "row 2: no value in column 2; allowed: integers"),
        (["1,2", ",4"], "row 2: no value in column 1; allowed: integers"),
        ([",2", "3,4"], "row 1: no value in column 1; allowed: integers"),
        (["1,2", "3", "5,6"], "row 2: 1 fields; allowed: 2, as in the first row"),
        (["1,2", "3,4,5"], "row 2: 3 fields; allowed: 2, as in the first row"),
        (["a,b", "1,2", "3,4", "", "5,6"], "row 4: no value in column 1; allowed: integers"),
        (["1,2", "1.5,4"], "row 2: '1.5' in column 1; allowed: integers"),
        (["1,2", "1e3,4"], "row 2: '1e3' in column 1; allowed: integers"),
        (["1,2", "nan,4"], "row 2: 'nan' in column 1; allowed: integers"),
        (["1,2", "NULL,4"], "row 2: 'NULL' in column 1; allowed: integers"),
        (["1,2", "99999999999999999999,4"], "row 2: '99999999999999999999' in column 1; allowed: integers"),
        (["1,2", "x" * 90 + ",4"], f"row 2: '{'x' * 40}' in column 1; allowed: integers"),
        (["1,2"] * 4000 + ["3,abc"] + ["5,6"] * 500, "row 4001: 'abc' in column 2"),
        (["a,b"] + ["1,2"] * 4000 + ["3"], "row 4002: 1 fields"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_wrong_row_of_a_csv_file(tmp_path: Path, packed: bool, lines: list[str], complaint: str) -> None:
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    content = "\n".join([*lines, ""]).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert refusal(path).startswith(f"{path} {complaint}")


def test_a_missing_value_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(90)), "b": [*range(77), None, *range(12)]}), path, row_group_size=50)
    assert refusal(path) == f"{path} row 78: no value in column 'b'; allowed: integers"


@pytest.mark.parametrize(
    ("column", "problem"), [(["x"], "string"), ([1.5], "double"), ([[1]], "list"), ([True], "bool"), ([None], "null")]
)
def test_other_columns_of_a_parquet_file(tmp_path: Path, column: list[Any], problem: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1], "b": column}), path)
    assert refusal(path).startswith(f"{path}: column 'b' holds {problem}")


@pytest.mark.parametrize(
    "values",
    [np.array(["1"]), np.array([1.5]), np.array([True]), np.array(3), np.zeros((2, 2, 2), int), np.array([1j])],
    ids=str,
)
def test_other_npy_arrays(tmp_path: Path, values: NDArray[Any]) -> None:
    np.save(tmp_path / "t.npy", values)
    assert refusal(tmp_path / "t.npy").startswith(f"{tmp_path / 't.npy'}: h")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read" in refusal(tmp_path / "t.npy")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    assert refusal(path) == f"{path}: no such file"
    write_rows(path, np.random.default_rng(0).integers(0, 10**9, (4000, 2)))
    whole = path.read_bytes()
    for content in (
        b"",
        b"\x93NUMPY\x01\x00",
        b"PAR1",
        b"\x1f\x8b\x08\x00",
        bytes(range(256)),
        whole[: len(whole) // 2 - 1],
    ):
        path.write_bytes(content)
        if suffix != ".csv" or content != whole[: len(whole) // 2 - 1]:
            assert refusal(path).startswith(str(path))


def test_unknown_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "t.dat").write_text("1")
    assert "t.dat: is of no known kind; allowed: .npy, .parquet, and .csv, .tsv, .txt" in refusal(tmp_path / "t.dat")
    (tmp_path / "t.npy").mkdir()
    assert refusal(tmp_path / "t.npy").endswith("no such file")


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (2, 2), (0, 2), (2, 0)])
def test_edges_in_rows_or_in_columns(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1]).reshape(shape)
    np.save(tmp_path / "e.npy", values)
    table = edge_table(tmp_path / "e.npy")
    wanted = values.T if shape[0] == 2 and shape[1] != 2 else values
    np.testing.assert_array_equal(table.whole(), wanted)
    assert table.at(6) == f"{tmp_path / 'e.npy'} {'column' if wanted is not values else 'row'} 7"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_edges_of_three_columns(tmp_path: Path, suffix: str) -> None:
    path = Path(write_rows(tmp_path / f"e{suffix}", np.ones((4, 3), dtype=int)))
    with pytest.raises(InputError, match="has 3 columns; allowed: 2, source and destination"):
        edge_table(path)
