"""A name for a run, made of all that determines its result, so that a finished run is found again."""

from __future__ import annotations

import hashlib
import json

from ugts_dist.config import Config

FORMAT = 1  # raised when a change of the program changes what a configuration gives


def run_key(config: Config) -> str:
    """Names a run by a hash of all that determines its result."""
    text = json.dumps([FORMAT, config.determining()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
