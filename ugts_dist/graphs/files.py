"""Raw files of the datasets: finding, downloading and reading them. Every failure is reported in one line."""

from __future__ import annotations

import http.client
import os
import pickle
import tempfile
import tokenize
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.available_memory import available_memory
from ugts_dist.errors import InputError

# Exceptions that readers of pickle, npz and text raise for other bytes.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    tokenize.TokenError,  # raised by numpy for the header of an .npy file
    zipfile.BadZipFile,
    zlib.error,
)
_TIMEOUT_SECONDS = 60


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert errors of reading a damaged file into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be read ({_one_line(error)}); put an intact copy in its place") from error


@contextmanager
def within_memory(what: str, size: int = 0, instead: str = "") -> Iterator[None]:
    """Convert a lack of memory into an InputError; ``what`` is what was to be read.

    With a ``size`` in bytes, more than is free is refused before: in a container the process would be killed.
    ``instead`` is a setting that needs less.
    """
    if size and size > (free := available_memory()):
        raise InputError(
            f"{what}: takes {size / 1e9:,.2f} GB of memory, allowed are {free / 1e9:,.2f} GB, which are free"
            + (f", or {instead}" if instead else "")
        )
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the latter is torch's
            raise InputError(f"{what}: takes more memory than there is ({_one_line(error)})") from error
        raise


def missing(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are not files in the folder."""
    return tuple(name for name in names if not (folder / name).is_file())


def download(dataset: str, folder: Path, urls: Mapping[str, str]) -> None:
    """Download files (name -> address) into a folder; each appears there only when complete.

    Several processes may do this at once. Raises InputError if the network or the disk fails.
    """
    for name, url in urls.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
                content = response.read()
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
                file.write(content)
            os.replace(file.name, folder / name)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(
                f"{dataset}: {url} cannot be downloaded ({_one_line(error)}); put {', '.join(urls)} "
                f"into {folder}, or set UGTS_DATA to a folder that has the datasets"
            ) from error


def load_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """Read the named numeric arrays of an npz file. Raises InputError for pickled ones."""
    # np.load does not close a damaged archive that it opened itself.
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def csr(
    data: NDArray[np.generic],
    indices: NDArray[np.generic],
    indptr: NDArray[np.generic],
    shape: tuple[int, ...],
) -> sp.csr_matrix:
    """A scipy matrix from checked arrays, so that no conversion reads outside them. Raises ValueError."""
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def node_ids(mask: NDArray[np.generic]) -> Tensor:
    """The positions of the non-zero entries of a mask, int64."""
    return torch.from_numpy(np.flatnonzero(mask)).long()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
