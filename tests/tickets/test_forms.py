"""What the commands show of masks of unusual forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.tickets.helpers import config_of, masked_weights, network_of, saved
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.supermask import Ticket, sparsify

CONFIG = config_of("gcn")
FORMS: dict[str, dict[str, Any]] = {
    "coats": {"coats": 3},
    "signed": {"signed": True, "ranking": "magnitude"},
    "frozen": {"pruned": 0.5, "locked": 0.1},
}


def ticket_of(config: Config, **form: Any) -> Ticket:
    mask = sparsify(network_of(config), rescale=True, **form)
    mask.step(0.6)
    return Ticket.of(mask, config.to_dict(), {"valid": 0.25, "test": 0.125})


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_form_and_values_are_told(form: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = ticket_of(CONFIG, **form)
    path = saved(tmp_path, ticket)
    main(["ticket", "show", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["form"] == {name: value for name, value in form.items() if name != "ranking"}
    assert told["entropy_bytes"] <= told["file_bytes"]
    for layer in told["layers"]:
        counts = {value: int((ticket.levels[layer["name"]] == int(value)).sum()) for value in layer["levels"]}
        assert layer["levels"] == counts
        assert sum(counts.values()) == (layer["weights"] if ticket.levels else 0)
    main(["ticket", "show", str(path)])
    text = capsys.readouterr().out
    assert all(f"{name} {value}" in text for name, value in told["form"].items())
    assert ("Values of the masks" in text) is bool(ticket.levels)
    for layer in told["layers"]:
        assert all(f"{count:,}" in text for count in layer["levels"].values())


def test_differences_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [saved(tmp_path, ticket_of(CONFIG, **form), f"{name}.ticket") for name, form in FORMS.items()]
    main(["ticket", "diff", str(paths[0]), str(paths[1]), "--json"])
    told = {one["name"]: (one["first"], one["second"]) for one in json.loads(capsys.readouterr().out)["differences"]}
    assert told["form coats"] == (3, 1)
    assert told["form signed"] == (False, True)
    assert "level of convs.0.lin.weight" in told
    main(["ticket", "diff", str(paths[0]), str(paths[2]), "--json"])
    told = {one["name"]: (one["first"], one["second"]) for one in json.loads(capsys.readouterr().out)["differences"]}
    assert told["form pruned"] == (0.0, 0.5)
    assert told["level of convs.0.lin.weight"][1] == "absent"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_exported_weights_are_those_of_the_network(form: dict[str, Any], tmp_path: Path) -> None:
    ticket = ticket_of(CONFIG, **form)
    path = saved(tmp_path, ticket)
    dense = masked_weights(ticket, CONFIG)
    main(["ticket", "export", str(path), "--format", "csr", "--out", str(tmp_path / "csr")])
    tensors = safetensors.torch.load_file(tmp_path / "csr")
    for name, weight in dense.items():
        rows, columns, values = (tensors[f"{name}/{part}"] for part in ("crow_indices", "col_indices", "values"))
        assert torch.equal(torch.sparse_csr_tensor(rows, columns, values, weight.shape).to_dense(), weight)
