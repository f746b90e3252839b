"""Masking methods, by their names on the command line. To add one: a file with its class, and its line here."""

from __future__ import annotations

from ugts_dist.methods.base import Method as Method
from ugts_dist.methods.base import Ramp as Ramp
from ugts_dist.methods.base import Scope as Scope
from ugts_dist.registry import load_classes

_CLASSES = {
    "ugts": "UGTs",
    "edge-popup": "EdgePopup",
    "no-global": "NoGlobal",
    "no-gradual": "NoGradual",
    "dense": "Dense",
}
METHODS: dict[str, Method] = {name: kind() for name, kind in load_classes(__name__, Method, _CLASSES).items()}
