"""The users' own node ids in a store: an array of integers, or the bytes of all texts with their ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.node_ids import NodeIds
from ugts_dist.graphs.store import open_extra
from ugts_dist.graphs.store_writer import StoreWriter

_INTEGERS, _BYTES, _ENDS = "ids", "id_bytes", "id_ends"
_BLOCK = 1 << 22


@dataclass(frozen=True)
class StoredIds:
    """Ids that are read from the store on access.

    Attributes:
        folder: of the store.
        values: [num_nodes] integers, or [num_nodes + 1] offsets of the texts.
        text: the bytes of all texts, UTF-8; None for integer ids.
    """

    folder: Path
    values: NDArray[np.int64]
    text: NDArray[np.uint8] | None

    def slice(self, first: int, count: int) -> pa.Array:
        """The ids of consecutive nodes. Raises InputError if the files are damaged."""
        if self.text is None:
            return pa.array(self.values[first : first + count])
        ends = np.array(self.values[first : first + count + 1])
        if not 0 <= ends[0] <= ends[-1] <= len(self.text) or (np.diff(ends) < 0).any():
            raise self._damaged()
        content = np.array(self.text[ends[0] : ends[-1]])
        buffers = [None, pa.py_buffer(ends - ends[0]), pa.py_buffer(content)]
        ids = pa.Array.from_buffers(pa.large_string(), count, buffers)
        try:
            ids.validate(full=True)
        except pa.ArrowInvalid as error:
            raise self._damaged() from error
        return ids.cast(pa.string())

    def _damaged(self) -> InputError:
        return InputError(f"{self.folder / _ENDS}.npy: does not fit {_BYTES}.npy; prepare the graph again")


def write_ids(ids: NodeIds, store: StoreWriter) -> None:
    """Write the ids to a store, unless they are 0, 1, 2, ..."""
    if ids.values is None:
        return
    if ids.kind == "integers":
        store.write_extra(_INTEGERS, np.dtype(np.int64), [ids.values.to_numpy()])
        return
    _, ends, content = ids.values.buffers()
    first = ids.values.offset
    positions = np.frombuffer(ends, np.int64)[first : first + ids.num_nodes + 1]
    text = np.frombuffer(content, np.uint8)[positions[0] : positions[-1]]
    store.write_extra(_ENDS, np.dtype(np.int64), [positions - positions[0]])
    store.write_extra(_BYTES, np.dtype(np.uint8), (text[k : k + _BLOCK] for k in range(0, len(text), _BLOCK)))


def open_ids(folder: Path, num_nodes: int) -> StoredIds | None:
    """The ids in a store; None if they are the nodes' numbers. Raises InputError for damaged ones."""
    integers, ends, text = (open_extra(folder, array) for array in (_INTEGERS, _ENDS, _BYTES))
    if integers is not None:
        return StoredIds(folder, _long(folder / f"{_INTEGERS}.npy", integers, num_nodes), None)
    if ends is None or text is None:
        return None
    return StoredIds(folder, _long(folder / f"{_ENDS}.npy", ends, num_nodes + 1), text.view(np.uint8))


def _long(path: Path, values: NDArray[Any], length: int) -> NDArray[np.int64]:
    if values.dtype != np.int64 or values.shape != (length,):
        raise InputError(f"{path}: is {values.shape} of {values.dtype}; allowed: ({length},) of int64")
    return values
