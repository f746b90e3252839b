"""CSV files as people and programs write them: detection of separator, comments and header."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa
from pyarrow import csv as arrow_csv

from ugts_dist.errors import InputError
from ugts_dist.graphs import tables
from ugts_dist.graphs.column_names import is_id
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.tables import Column, ColumnType, Kind, Report, Rows

# values: a row like all others. names: a header. numbers: 0, 1, 2, ..., a row or the header that pandas writes for
# columns without names; header of numbers: certainly the latter. text: words in a table of words, a row or a header.
FirstRow = Literal["values", "names", "numbers", "header of numbers", "text"]

SUFFIXES = (".csv", ".tsv", ".txt")
_HEAD_BYTES, _HEAD_LINES = 1 << 20, 2000
_SAMPLE_ROWS = 200
_COUNT_BYTES = 1 << 22
_UNPACKED_BYTES, _UNPACKED_RATIO = 1 << 28, 200
_COMMENTS = ("#", "%")
_SEPARATORS = ("\t", ";", ",", " ")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")
_ZEROS = re.compile(r"[+-]?0\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_TYPES: dict[Kind, pa.DataType] = {
    "integers": pa.int64(),
    "numbers": pa.float64(),
    "targets": pa.float64(),
    "booleans": pa.bool_(),
    "text": pa.string(),
}


@dataclass(frozen=True)
class TextFile:
    """A text file with separated fields; its first rows have been read."""

    path: Path
    separator: str
    decimal: str  # "." or ","
    comments: int  # lines before the first row
    names: tuple[str, ...]  # of the columns, if a comment has them
    rows: tuple[tuple[str, ...], ...]  # the first ones, including a header

    @property
    def num_columns(self) -> int:
        return len(self.rows[0])

    @cached_property
    def first_row(self) -> FirstRow:
        """What the first row looks like, by itself and compared with the next rows."""
        first = self.rows[0]
        if first == _up_to(len(first)):
            return "header of numbers" if self._differ_below() else "numbers"
        numbers = tuple(field for field in first if self._is_number(field))
        others = [field for field in first if not self._is_number(field)]
        if numbers:  # pandas' index, or ids with a name, beside columns without names
            is_header = others and numbers == _up_to(len(numbers)) and all(map(is_id, others)) and "" not in first[1:]
            return "names" if is_header else "values"
        if all(field in ("", *_TRUE, *_FALSE) for field in others):
            return "values"
        below = self._column_types(self.rows[1:])
        is_words = len(self.rows) > 1 and all(found == "text" for found in below)
        return "text" if is_words and not any(map(is_id, others)) else "names"

    def _differ_below(self) -> bool:
        """Whether a column has words below its first number, or one of several columns has only fractions."""
        rows = [row for row in self.rows[1:] if len(row) == self.num_columns]
        if "text" in self._column_types(rows):
            return True
        columns = list(zip(*rows, strict=True)) if len(rows) > 1 and self.num_columns > 1 else []
        return any(all(field.strip() and not _INTEGER.fullmatch(field.strip()) for field in c) for c in columns)

    def opened(self, header: bool) -> Rows:
        """The rows; the first one is read as column names or as values."""
        names = tuple(field.strip() for field in self.rows[0]) if header else self.names
        found = self._column_types(self.rows[1:] if header else self.rows)
        skipped = self.comments + int(header)
        columns = [f"f{column}" for column in range(self.num_columns)]

        def read(chosen: Sequence[int], kinds: Sequence[Kind], report: Report) -> Iterator[list[Column]]:
            whole: list[Kind] = [_parsed(found[column], kind) for column, kind in zip(chosen, kinds, strict=True)]
            read_options = arrow_csv.ReadOptions(
                use_threads=False,  # so that errors name the row
                block_size=tables.BLOCK_BYTES,
                skip_rows=skipped,
                column_names=columns,
            )
            parse_options = arrow_csv.ParseOptions(delimiter=self.separator, ignore_empty_lines=False)
            convert_options = arrow_csv.ConvertOptions(
                column_types={columns[column]: _TYPES[kind] for column, kind in zip(chosen, whole, strict=True)},
                include_columns=[columns[column] for column in chosen],
                # No text means a missing value, so that any is an error, except where values may be unknown.
                null_values=[""] if "targets" in kinds else [],
                true_values=_TRUE,
                false_values=_FALSE,
                decimal_point=self.decimal,
            )
            size = self.path.stat().st_size
            with self._complaining(dict(zip(chosen, kinds, strict=True))), pa.OSFile(str(self.path)) as file:
                stream = pa.CompressedInputStream(file, "gzip") if self.path.suffix == ".gz" else file
                done = 0
                for batch in arrow_csv.open_csv(stream, read_options, parse_options, convert_options):
                    done += batch.num_rows
                    if not {"booleans", "numbers", "targets"} & set(whole):
                        self._refuse_bomb(done, size)
                    yield [tables.values_of(column, kind) for column, kind in zip(batch.columns, kinds, strict=True)]
                    report(min(1.0, file.tell() / size))

        return Rows(str(self.path), names, found, None, read, first_row=1 + skipped)

    def _refuse_bomb(self, num_rows: int, size: int) -> None:
        """Refuse files that unpack to far more integers or words than they can hold different ones of."""
        least = 2 * self.num_columns * num_rows  # bytes of text: a digit and a separator per field
        if self.path.suffix == ".gz" and least > max(_UNPACKED_BYTES, _UNPACKED_RATIO * size):
            found = f"unpacks to more than {_UNPACKED_RATIO} times its {size:,} bytes"
            raise InputError(f"{self.path}: {found}, as no table of integers or words does")

    def count_rows(self) -> int:
        """Number of rows, including a header: lines, which are counted much faster than parsed."""
        count, last = -self.comments, b"\n"
        with reading(self.path), _bytes(self.path) as file:
            while block := file.read(_COUNT_BYTES):
                count, last = count + block.count(b"\n"), block[-1:]
        return count + int(last != b"\n")

    def _column_types(self, rows: Sequence[Sequence[str]]) -> tuple[ColumnType, ...]:
        columns = list(zip(*(row for row in rows if len(row) == self.num_columns), strict=True))
        found: list[ColumnType] = [self._holds(column) for column in columns]
        return tuple(found or ["integers"] * self.num_columns)

    def _holds(self, fields: Sequence[str]) -> ColumnType:
        given = [field.strip() for field in fields if field.strip()]
        if all(map(_INTEGER.fullmatch, given)):
            return "integers"
        if all(field in _TRUE + _FALSE for field in given):
            return "booleans"
        if any(map(_ZEROS.fullmatch, given)):  # 007 is a number, but as an id it is not 7
            return "mixed"
        numbers = sum(map(self._is_number, given))
        return "numbers" if numbers == len(given) else "mixed" if numbers else "text"

    def _is_number(self, field: str) -> bool:
        return is_number(field.replace(self.decimal, "."))

    @contextmanager
    def _complaining(self, kinds: Mapping[int, Kind]) -> Iterator[None]:
        """Translate pyarrow's errors into our own, with the row."""
        with reading(self.path):
            try:
                yield
            except pa.ArrowInvalid as error:
                raise self._complaint(str(error), kinds) or error from None

    def _complaint(self, error: str, kinds: Mapping[int, Kind]) -> InputError | None:
        if wrong := re.search(r"column #(\d+): Row #(\d+): .*invalid value '(.*)'", error, re.DOTALL):
            column, row, value = int(wrong[1]), wrong[2], wrong[3]
            found = f"{value[:40]!r} in column {column + 1}" if value.strip() else f"no value in column {column + 1}"
            return InputError(f"{self.path} row {row}: {found}; allowed: {tables.named(kinds[column])}")
        if wrong := re.search(r"column #(\d+): Row #(\d+): .*invalid UTF8", error):
            return InputError(f"{self.path} row {wrong[2]}: column {int(wrong[1]) + 1} is not UTF-8; save it as UTF-8")
        if wrong := re.search(r"Row #(\d+): Expected \d+ columns, got (\d+)", error):
            found, allowed = f"{wrong[2]} fields", f"{self.num_columns}, as in the first row"
            return InputError(f"{self.path} row {wrong[1]}: {found}; allowed: {allowed}")
        return None


def open_text(path: Path) -> TextFile:
    """Inspect the first rows of a text file with fields. Raises InputError if it is empty or not text."""
    lines = _first_lines(path)
    comments = next((number for number, line in enumerate(lines) if not line.startswith(_COMMENTS)), len(lines))
    if comments == len(lines) or not lines[comments]:
        raise InputError(f"{path}: is empty, or begins with comments alone; allowed: rows of fields")
    body = lines[comments : comments + _SAMPLE_ROWS]
    separator = _separator(body)
    rows = _split(path, body, separator)
    if separator == " ":
        _refuse_aligned(path, comments, rows)
    names = _split(path, [line.lstrip("".join(_COMMENTS)).strip() for line in lines[:comments][-1:]], separator)
    fitting = names[0] if names and len(names[0]) == len(rows[0]) > 1 else ()
    return TextFile(path, separator, _decimal(rows, separator), comments, tuple(map(str.strip, fitting)), rows)


def is_text_file(path: Path) -> bool:
    """Whether the file's suffix is that of a text file with fields."""
    return path.name.removesuffix(".gz").endswith(SUFFIXES)


def is_number(field: str) -> bool:
    """Whether the field is a number in Python's notation."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _up_to(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _first_lines(path: Path) -> list[str]:
    """The first lines of a file; a truncated line only if it is the only one."""
    with reading(path), _bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
        raise InputError(f"{path}: is no UTF-8 text (UTF-16, or binary); save it as UTF-8")
    if len(head) == _HEAD_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n") + 1]
    lines = head.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n", _HEAD_LINES)
    if len(lines) > _HEAD_LINES or (len(lines) > 1 and not lines[-1]):
        lines.pop()
    return lines


def _refuse_aligned(path: Path, comments: int, rows: Sequence[Sequence[str]]) -> None:
    """Refuse repeated spaces as separators: each would separate two fields."""
    for number, row in enumerate(rows):
        if "" in row:
            found = "spaces around the fields, or several between them"
            raise InputError(f"{path} row {comments + number + 1}: {found}; allowed: one between fields, or commas")


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> str:
    """The decimal mark: a comma if fields below the first row have commas and none has a point."""
    fields = [field for row in rows[1:] for field in row]
    has_comma = separator != "," and any(map(_DECIMAL_COMMA.fullmatch, fields))
    return "," if has_comma and not any("." in field for field in fields) else "."


def _separator(lines: Sequence[str]) -> str:
    """The separator that gives all lines equally many fields; spaces only between numbers."""
    present = [mark for mark in _SEPARATORS if mark in lines[0]]
    if " " in present and not any(is_number(field) for field in lines[-1].split(" ") if field):
        present.remove(" ")
    for mark in present:
        counts = {len(row) for row in csv.reader(lines, delimiter=mark)}
        if len(counts) == 1 and max(counts) > 1:
            return mark
    return next((mark for mark in (",", ";", "\t", " ") if mark in present), ",")


def _split(path: Path, lines: Sequence[str], separator: str) -> tuple[tuple[str, ...], ...]:
    try:
        return tuple(tuple(row) or ("",) for row in csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read ({error}); put an intact copy in its place") from None


def _parsed(found: ColumnType, kind: Kind) -> Kind:
    """The type to parse a column as; ids may be integers, and numbers as well, or true and false."""
    if kind == "ids":
        return "booleans" if found == "booleans" else "integers"
    return "booleans" if kind in ("numbers", "targets") and found == "booleans" else kind


def _bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
