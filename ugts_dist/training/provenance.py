"""What a saved network tells of where it comes from."""

from __future__ import annotations

from typing import Any

import torch

import ugts_dist
from ugts_dist.graphs.checksum import DataChecksum


def provenance(data: DataChecksum) -> dict[str, Any]:
    """Checksum of the data, and the versions; plain values, for JSON."""
    return {"data": data.to_dict(), "ugts_dist": ugts_dist.__version__, "torch": torch.__version__}


def data_of(provenance: Any) -> DataChecksum | None:
    """The data that a saved network was found on; None where it does not tell, or in a way that is not known here."""
    try:
        return DataChecksum.from_dict(provenance["data"])
    except (KeyError, TypeError, ValueError):
        return None
