"""The checksum of a dataset, which results record. It is the same from raw files and from a store."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.store_files import write_header

_PARTS = {
    "features": ("x",),
    "labels": ("y",),
    "edges": ("indptr", "indices", "edge_index", "node_ptr", "edge_ptr", "edge_weight", "edge_attr"),
    "split": ("train", "valid", "test"),
}
_PART_DIGITS = 8  # of the SHA-256 of a part: tickets are small
_BRIEF_DIGITS = 16  # of the SHA-256 of all

D = TypeVar("D", bound=Graph | GraphSet)


@dataclass(frozen=True)
class DataChecksum:
    """Identity of a dataset, with enough detail to name the parts in which two differ.

    Attributes:
        name: of the dataset; equal data can have different names.
        sha256: over name and SHA-256 of each array as an .npy file, in the order of the names; in a ticket only its
            first digits.
        num_nodes: of all graphs together.
        parts: the first digits of the SHA-256 of features, labels, edges and split, if the data have them; empty if
            unknown, as in files of older versions.
    """

    name: str
    sha256: str
    num_nodes: int
    parts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Graph | GraphSet) -> DataChecksum:
        """The checksum of a dataset. Stores know those of their arrays; others take a second per gigabyte."""
        digests = _digests(data)
        present = {part: arrays for part, arrays in _PARTS.items() if part not in _absent(data)}
        parts = {part: _joint(digests, set(arrays) & digests.keys()) for part, arrays in present.items()}
        short = {part: digest[:_PART_DIGITS] for part, digest in parts.items()}
        return cls(data.name, _joint(digests, digests), data.x.shape[0], short)

    @classmethod
    def from_dict(cls, values: Any) -> DataChecksum:
        """Inverse of `to_dict`. Raises ValueError for values that it does not return."""
        if not isinstance(values, Mapping) or not {"name", "sha256", "num_nodes"} <= values.keys():
            raise ValueError("the data have no name, sha256 or num_nodes")
        parts = values.get("parts", {})
        digest = values["sha256"]
        if not isinstance(values["name"], str) or not (_is_hex(digest, 64) or _is_hex(digest, _BRIEF_DIGITS)):
            raise ValueError("the name or the sha256 of the data is not one")
        if type(values["num_nodes"]) is not int or values["num_nodes"] < 0:
            raise ValueError("num_nodes of the data is no count")
        if not isinstance(parts, Mapping) or not all(_is_hex(digits, _PART_DIGITS) for digits in parts.values()):
            raise ValueError("the parts of the data have no checksums")
        known = {part: parts[part] for part in _PARTS if part in parts}
        return cls(values["name"], values["sha256"], values["num_nodes"], known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def brief(self) -> DataChecksum:
        """The same with fewer digits of the SHA-256: different data share them once in 2^64 cases."""
        return replace(self, sha256=self.sha256[:_BRIEF_DIGITS])

    def difference(self, other: DataChecksum) -> str:
        """The parts in which `other` differs, to show: "labels and split"; empty if all that both have are equal."""
        digits = min(len(self.sha256), len(other.sha256))
        if self.sha256[:digits] == other.sha256[:digits]:
            return ""
        known = self.parts.keys() & other.parts.keys()
        names = [part for part in _PARTS if part in known and self.parts[part] != other.parts[part]]
        if self.num_nodes != other.num_nodes:
            names.append(f"number of nodes ({self.num_nodes:,} there, {other.num_nodes:,} here)")
        lacks_a_part = known and self.parts.keys() != other.parts.keys()
        return _listed(names) or ("" if lacks_a_part else "something")


def with_digests(data: D) -> D:
    """The same dataset with the SHA-256 of each of its arrays."""
    return replace(data, digests=_digests(data))


def _absent(data: Graph | GraphSet) -> tuple[str, ...]:
    """The parts that the data do not have: a graph may have no split, and then no labels either."""
    if isinstance(data, GraphSet) or data.has_split:
        return ()
    return ("split",) if data.num_classes > 0 else ("split", "labels")


def _digests(data: Graph | GraphSet) -> dict[str, str]:
    """SHA-256 of each array, as `sha256sum` prints it for the array's file in a store."""
    arrays = {each.name: getattr(data, each.name) for each in fields(data)}
    return {
        name: data.digests.get(name) or _npy_sha256(array)
        for name, array in arrays.items()
        if isinstance(array, Tensor)
    }


def _joint(digests: Mapping[str, str], names: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(names)).encode()).hexdigest()


def _npy_sha256(array: Tensor) -> str:
    values = (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array).contiguous().numpy()
    header = io.BytesIO()
    write_header(header, values.dtype, values.shape)
    digest = hashlib.sha256(header.getvalue())
    digest.update(values.reshape(-1).view("u1").data if values.size else b"")
    return digest.hexdigest()


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", text) is not None


def _listed(names: list[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
