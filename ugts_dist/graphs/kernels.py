"""The sampling kernels of pyg-lib and torch-sparse. Imports torch only: PyG itself imports these packages."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.errors import first_line

Kernel = Callable[[Tensor, Tensor, Tensor, list[int]], tuple[Tensor, Tensor, Tensor]]
"""(indptr, indices, seeds, fan-out) -> (node ids, position of each edge's source, of its destination).

All are int64. Seeds come first among the nodes; edges are sorted by destination.
"""


def _pyg_lib(indptr: Tensor, indices: Tensor, seeds: Tensor, fan_out: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    source, destination, nodes, *_ = torch.ops.pyg.neighbor_sample(
        indptr, indices, seeds, fan_out, csc=True, return_edge_id=False
    )
    return nodes, source, destination


def _torch_sparse(indptr: Tensor, indices: Tensor, seeds: Tensor, fan_out: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    replace, directed = False, True
    nodes, source, destination, _ = torch.ops.torch_sparse.neighbor_sample(
        indptr, indices, seeds, fan_out, replace, directed
    )
    return nodes, source, destination


@dataclass(frozen=True)
class Backend:
    """A package with a sampler: its name for pip, the module to import, and the kernel that it registers."""

    package: str
    module: str
    kernel: Kernel

    def problem(self) -> str:
        """Why the kernel can't be used, in one line; empty if it can. Imports the package.

        A package for another version of torch may crash the process instead; `ugts doctor` detects that.
        """
        try:
            version = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return f"{self.package} is not installed"
        try:
            importlib.import_module(self.module)
            _, source, _ = self.kernel(torch.tensor([0, 1, 1]), torch.tensor([1]), torch.tensor([0]), [1])
        except Exception as error:
            return f"{self.package} {version} with torch {torch.__version__} does not load: {_reason(error)}"
        return "" if source.tolist() == [1] else f"{self.package} {version} samples an edge that is not in the graph"


BACKENDS = {
    "pyg-lib": Backend("pyg-lib", "pyg_lib", _pyg_lib),
    "torch-sparse": Backend("torch-sparse", "torch_sparse", _torch_sparse),
}


def _reason(error: BaseException) -> str:
    """Type and first line of the root error: torch wraps the linker's message about a library."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
