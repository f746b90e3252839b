"""Python that loads an exported file and predicts, to print: `x`, `edge_index` and `edge_weight` are those of PyG."""

from __future__ import annotations

from collections.abc import Callable

from ugts_dist.tickets.inputs import Inputs
from ugts_dist.tickets.plain import PlainModel

INPUTS_FILE = "inputs.json"  # in a program of torch.export


def state_dict_lines(out: str, plain: PlainModel, inputs: Inputs) -> list[str]:
    """For a state dict of a model of PyG."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in plain.arguments.items())
    scaling = inputs.scaling(f'json.loads(safe_open({out!r}, "pt").metadata()["pyg"])["inputs"]')
    return [
        *(["import json; import torch; from safetensors import safe_open"] if scaling else []),
        f"from safetensors.torch import load_file; from torch_geometric.nn import {plain.name}",
        f"model = {plain.name}({arguments}).eval()",
        f"model.load_state_dict(load_file({out!r}))",
        *scaling,
        _predict("model", inputs),
        *inputs.restoring(),
    ]


def torch_export_lines(out: str, plain: PlainModel, inputs: Inputs) -> list[str]:
    """For a program of torch.export."""
    scaling = inputs.scaling(f'json.loads(extra["{INPUTS_FILE}"])')
    return [
        "import json; import torch",
        f'extra = {{"{INPUTS_FILE}": ""}}',
        f"model = torch.export.load({out!r}, extra_files=extra).module()",
        *scaling,
        _predict("model", inputs),
        *inputs.restoring(),
    ]


def onnx_lines(out: str, plain: PlainModel, inputs: Inputs) -> list[str]:
    """For an ONNX model."""
    scaling = inputs.scaling('json.loads(session.get_modelmeta().custom_metadata_map["inputs"])')
    names = ["x", "edge_index", *(["edge_weight"] if inputs.edge_weights else [])]
    graph = "{" + ", ".join(f'"{name}": {name}.numpy()' for name in names) + "}"
    return [
        "import json; import onnxruntime; import torch",
        f"session = onnxruntime.InferenceSession({out!r})",
        *scaling,
        f'(logits,) = session.run(["logits"], {graph})  # x: [num_nodes, {inputs.num_features}]',
        *inputs.restoring(),
    ]


def csr_lines(out: str) -> list[str]:
    """For kept weights, from which no model is made: a list of their names, and one of them."""
    parts = '(file.get_tensor(f"{name}/{part}") for part in ("crow_indices", "col_indices", "values"))'
    return [
        "import json; import torch; from safetensors import safe_open",
        f'file = safe_open({out!r}, "pt")',
        'described = json.loads(file.metadata()["csr"])  # names of the weights, and what the network expects',
        'name = described["weights"][0]; shape = file.get_tensor(f"{name}/shape").tolist()',
        f"crow, col, values = {parts}",
        "weight = torch.sparse_csr_tensor(crow, col, values, (len(crow) - 1, shape[-1])).to_dense().view(shape)",
    ]


def _predict(model: str, inputs: Inputs) -> str:
    weights = ", edge_weight" if inputs.edge_weights else ""
    return f"logits = {model}(x, edge_index{weights})  # x: [num_nodes, {inputs.num_features}]"


LINES: dict[str, Callable[[str, PlainModel, Inputs], list[str]]] = {
    "state-dict": state_dict_lines,
    "torch-export": torch_export_lines,
    "onnx": onnx_lines,
}
