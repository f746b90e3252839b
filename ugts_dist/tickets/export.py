"""Export of a ticket's network to formats of other programs."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ugts_dist.csr import row_pointers
from ugts_dist.errors import InputError
from ugts_dist.index_type import index_type
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.files import check_new, new_file
from ugts_dist.tickets.options import Format
from ugts_dist.tickets.plain import PlainModel, plain_model

_ONNX_PACKAGES = ("onnx", "onnxscript")


def export(path: Path, kind: Format, out: Path) -> int:
    """Write the network of a ticket to a new file. Returns its size in bytes.

    Raises InputError if the file exists, is not a ticket, or its network can't be exported to this format.
    """
    check_new(out)
    formats: dict[Format, Callable[[Ticket, Path], bytes]] = {
        "state-dict": state_dict,
        "csr": csr,
        "torch-export": torch_export,
        "onnx": onnx,
    }
    data = formats[kind](Ticket.load(path), path)
    with new_file(out) as file:
        file.write(data)
    return len(data)


def state_dict(ticket: Ticket, path: Path) -> bytes:
    """safetensors with the parameters of a PyG model; class and arguments are JSON in the metadata `pyg`."""
    plain = plain_model(ticket, path)
    # One entry only: safetensors writes several in a random order.
    metadata = {"pyg": json.dumps({"class": f"torch_geometric.nn.{plain.name}", "arguments": plain.arguments})}
    return safetensors.torch.save({name: value.contiguous() for name, value in plain.state.items()}, metadata)


def csr(ticket: Ticket, path: Path) -> bytes:
    """safetensors with the kept weights in CSR form.

    For each weight NAME: `NAME/crow_indices`, `NAME/col_indices` (both int32 if they fit), `NAME/values`, and
    `NAME/shape`. All axes but the last count as rows: an attention vector `[1, heads, width]` is a matrix `[heads,
    width]`. Everything else is `unmasked/NAME`. The metadata `csr` lists the weights, as JSON.

    Raises InputError if the seed does not give the ticket's weights.
    """
    tensors = {f"unmasked/{name}": value.contiguous() for name, value in ticket.unmasked.items()}
    try:
        weights = ticket.effective()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for name, weight in weights.items():
        tensors |= _sparse(name, weight, ticket.masks[name])
    return safetensors.torch.save(tensors, {"csr": json.dumps({"weights": list(ticket.masks)})})


def torch_export(ticket: Ticket, path: Path) -> bytes:
    """A program of `torch.export` on the CPU: x `[num_nodes, in]`, edge_index `[2, num_edges]` -> logits."""
    file = io.BytesIO()
    torch.export.save(_program(plain_model(ticket, path)), file)
    return file.getvalue()


def onnx(ticket: Ticket, path: Path) -> bytes:
    """The same program as an ONNX model with inputs `x` and `edge_index` and output `logits`.

    Raises InputError if the packages for ONNX are not installed.
    """
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format is onnx, which needs the package(s) {' '.join(missing)}: pip install them")
    program = torch.onnx.export(
        _program(plain_model(ticket, path)),
        dynamo=True,
        verbose=False,
        input_names=["x", "edge_index"],
        output_names=["logits"],
    )
    assert program is not None
    return program.model_proto.SerializeToString()


def _program(plain: PlainModel) -> torch.export.ExportedProgram:
    # Only types and widths of the example count: numbers of nodes and edges are free.
    x = torch.zeros(4, plain.arguments["in_channels"])
    edge_index = torch.tensor([[0, 1, 2, 2, 3], [1, 0, 1, 3, 2]])
    shapes = ({0: torch.export.Dim("num_nodes")}, {1: torch.export.Dim("num_edges")})
    return torch.export.export(plain.build(), (x, edge_index), dynamic_shapes=shapes, strict=False)


def _sparse(name: str, weight: Tensor, mask: Tensor) -> dict[str, Tensor]:
    kept = mask.reshape(-1, mask.shape[-1])
    matrix = weight.reshape(kept.shape)
    integer = index_type(mask.numel(), kept.shape[1])
    return {
        f"{name}/crow_indices": row_pointers(kept.sum(1)).to(integer),
        f"{name}/col_indices": kept.nonzero()[:, 1].to(integer).contiguous(),
        f"{name}/values": matrix[kept],
        f"{name}/shape": torch.tensor(mask.shape),
    }
