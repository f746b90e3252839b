"""An .npy file that is written in blocks."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugts_dist.graphs.store_files import write_header


class NpyFile:
    """Appends blocks of rows to a new .npy file; its end writes the number of rows into the header.

    A context manager. Raises FileExistsError for a file that exists.

    Args:
        path: of the file.
        dtype: of the array; blocks of other dtypes are converted.
        row: shape of a row.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], row: tuple[int, ...] = ()) -> None:
        self.num_rows = 0
        self._dtype, self._row = dtype, row
        self._file = path.open("xb")
        write_header(self._file, dtype, (0, *row))

    def append(self, block: NDArray[Any]) -> None:
        """Write some more rows, [any number, *row]."""
        self._file.write(np.ascontiguousarray(block, self._dtype).reshape(len(block), *self._row).data)
        self.num_rows += len(block)

    def __enter__(self) -> NpyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                # As long as the first header: numpy leaves room for the largest length.
                write_header(self._file, self._dtype, (self.num_rows, *self._row))
