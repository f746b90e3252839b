"""Export of a ticket's network to formats of other programs."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ugts_dist.csr import row_pointers
from ugts_dist.errors import InputError
from ugts_dist.index_type import index_type
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.files import check_new, new_file
from ugts_dist.tickets.inputs import Inputs, inputs_of
from ugts_dist.tickets.loading import INPUTS_FILE, LINES, csr_lines
from ugts_dist.tickets.options import Format
from ugts_dist.tickets.plain import PlainModel, plain_model

_ONNX_PACKAGES = ("onnx", "onnxscript")


@dataclass(frozen=True)
class Exported:
    """A file that was written: its size in bytes, and Python that loads it and predicts, one line each."""

    size: int
    lines: list[str]


def export(path: Path, kind: Format, out: Path) -> Exported:
    """Write the network of a ticket to a new file.

    The file also says what the network expects of features (`ugts_dist.tickets.inputs`), if that is known.

    Raises InputError if the file exists, is not a ticket, or its network can't be exported to this format.
    """
    check_new(out)
    ticket = Ticket.load(path)
    inputs = inputs_of(ticket, path)
    if kind == "csr":
        data, lines = csr(ticket, path, inputs), csr_lines(str(out))
    else:
        formats: dict[str, Callable[[PlainModel, Inputs], bytes]] = {
            "state-dict": state_dict,
            "torch-export": torch_export,
            "onnx": onnx,
        }
        plain = plain_model(ticket, path)
        assert inputs is not None  # a plain model has a configuration, and predicts for nodes
        data, lines = formats[kind](plain, inputs), LINES[kind](str(out), plain, inputs)
    with new_file(out) as file:
        file.write(data)
    return Exported(len(data), lines)


def state_dict(plain: PlainModel, inputs: Inputs) -> bytes:
    """safetensors with the parameters of a PyG model; class, arguments and inputs are JSON in the metadata `pyg`."""
    described = {"class": f"torch_geometric.nn.{plain.name}", "arguments": plain.arguments, "inputs": inputs.to_json()}
    # One entry only: safetensors writes several in a random order.
    metadata = {"pyg": json.dumps(described)}
    return safetensors.torch.save({name: value.contiguous() for name, value in plain.state.items()}, metadata)


def csr(ticket: Ticket, path: Path, inputs: Inputs | None) -> bytes:
    """safetensors with the kept weights in CSR form.

    For each weight NAME: `NAME/crow_indices`, `NAME/col_indices` (both int32 if they fit), `NAME/values`, and
    `NAME/shape`. All axes but the last count as rows: an attention vector `[1, heads, width]` is a matrix `[heads,
    width]`. Everything else is `unmasked/NAME`. The metadata `csr` lists the weights and describes the inputs, as JSON.

    Raises InputError if the seed does not give the ticket's weights.
    """
    tensors = {f"unmasked/{name}": value.contiguous() for name, value in ticket.unmasked.items()}
    try:
        weights = ticket.effective()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for name, weight in weights.items():
        tensors |= _sparse(name, weight, ticket.masks[name])
    described = {"weights": list(ticket.masks)} | ({} if inputs is None else {"inputs": inputs.to_json()})
    return safetensors.torch.save(tensors, {"csr": json.dumps(described)})


def torch_export(plain: PlainModel, inputs: Inputs) -> bytes:
    """A program of `torch.export` on the CPU: x `[num_nodes, in]`, edge_index `[2, num_edges]` -> logits.

    The program of a network that reads edge weights takes edge_weight `[num_edges]`, too. The extra file `inputs.json`
    describes the inputs.
    """
    file, described = io.BytesIO(), {INPUTS_FILE: json.dumps(inputs.to_json())}
    torch.export.save(_program(plain, inputs.edge_weights), file, extra_files=described)
    return file.getvalue()


def onnx(plain: PlainModel, inputs: Inputs) -> bytes:
    """The same program as an ONNX model with inputs `x` and `edge_index` and output `logits`.

    The metadata `inputs` describes the inputs.

    Raises InputError if the packages for ONNX are not installed.
    """
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format is onnx, which needs the package(s) {' '.join(missing)}: pip install them")
    program = torch.onnx.export(
        _program(plain, inputs.edge_weights),
        dynamo=True,
        verbose=False,
        input_names=["x", "edge_index", *(["edge_weight"] if inputs.edge_weights else [])],
        output_names=["logits"],
    )
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key="inputs", value=json.dumps(inputs.to_json()))
    return model.SerializeToString()


def _program(plain: PlainModel, weighted: bool) -> torch.export.ExportedProgram:
    # Only types and widths of the example count: numbers of nodes and edges are free.
    x = torch.zeros(4, plain.arguments["in_channels"])
    edge_index = torch.tensor([[0, 1, 2, 2, 3], [1, 0, 1, 3, 2]])
    example: tuple[Tensor, ...] = (x, edge_index)
    num_edges = torch.export.Dim("num_edges")
    shapes: tuple[dict[int, Any], ...] = ({0: torch.export.Dim("num_nodes")}, {1: num_edges})
    if weighted:
        example, shapes = (*example, torch.ones(edge_index.shape[1])), (*shapes, {0: num_edges})
    return torch.export.export(plain.build(), example, dynamic_shapes=shapes, strict=False)


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
