"""A user's own checkpoints of a network that was sparsified."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
import torch_geometric.nn as pyg

from tests.trials.case import case
from tests.trials.networks import EDGES, X, told
from ugts_dist import Supermask, Ticket, sparsify


def searched(seed: int = 3) -> Supermask:
    """A GCN of PyG's with gains and moved scores."""
    mask = sparsify(pyg.GCN(4, 8, 2, 3), seed, rescale=True)
    for name in mask.weights():
        mask.scale(name, 2.5)
    with torch.no_grad():
        for score in mask.scores():
            score.neg_()
    mask.step(0.7)
    mask.model.eval()
    return mask


def compared(mask: Supermask, other: Supermask) -> str:
    """How far a ticket of a restored model predicts from the model that was saved."""
    plain = Ticket.of(other).apply(pyg.GCN(4, 8, 2, 3))
    return f"{float((plain(X, EDGES) - mask.model(X, EDGES)).detach().abs().max())} apart"


@case(r"^<All keys matched successfully> 0\.0 apart$")
def same_model(folder: Path) -> str:
    """A state loaded by its own model"""
    mask = searched()
    return f"{mask.model.load_state_dict(mask.model.state_dict())} {compared(mask, mask)}"


@case(r"^0\.0 apart 0\.0 apart$")
def other_model(folder: Path) -> str:
    """A new model restored by torch and by safetensors, and a ticket of it"""
    mask, seen = searched(), []
    torch.save(mask.model.state_dict(), folder / "a.pt")
    safetensors.torch.save_file(mask.model.state_dict(), folder / "a.safetensors")
    for state in (
        torch.load(folder / "a.pt", weights_only=True),
        safetensors.torch.load_file(folder / "a.safetensors"),
    ):
        again = sparsify(pyg.GCN(4, 8, 2, 3), 3, rescale=True)
        again.fingerprint()  # an old one is not kept
        again.model.load_state_dict(state)
        seen.append(compared(mask, again))
    return " ".join(seen)


@case(r"^ValueError: state of convs\.0\.lin\.weight has seed 4 \(here 3\); allowed is the state of .* 0\.0 apart$")
def other_seed(folder: Path) -> str:
    """A state of another seed"""
    mask = searched()
    expected = searched()
    refused = told(lambda: mask.model.load_state_dict(searched(seed=4).model.state_dict()))
    return f"{refused} {compared(expected, mask)}"


@case(r"^ValueError: state of convs\.0\.lin\.weight has rescale True \(here False\); allowed is")
def other_options(folder: Path) -> str:
    """A state of other options"""
    mask = sparsify(pyg.GCN(4, 8, 2, 3), 3)
    return told(lambda: mask.model.load_state_dict(searched().model.state_dict()))


@case(r"^ValueError: convs\.0\.lin\.weight is not what seed 3, kaiming-uniform and gain 1 give: it was changed")
def without_gains(folder: Path) -> str:
    """A state from which the gains were taken, loaded with strict=False"""
    state = {name: value for name, value in searched().model.state_dict().items() if "_extra_state" not in name}
    mask = sparsify(pyg.GCN(4, 8, 2, 3), 3, rescale=True)
    Ticket.of(mask)
    mask.model.load_state_dict(state, strict=False)
    return told(lambda: Ticket.of(mask))


@case(r"^ValueError: convs\.1\.lin\.weight is not what seed 3, kaiming-uniform and gain 2\.5 give: it was changed")
def changed_weight(folder: Path) -> str:
    """A frozen weight that was changed by way of .data after a ticket was made"""
    mask = searched()
    Ticket.of(mask)
    mask.weights()["convs.1.lin.weight"].data.mul_(2.0)
    return told(lambda: Ticket.of(mask))
