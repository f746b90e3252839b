"""What a saved network holds of an own network. Its code is imported only if the user names it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ugts_dist.config import Config
from ugts_dist.config_factory import ARGS, FACTORY, absolute
from ugts_dist.errors import InputError
from ugts_dist.models.factory import Origin, source_sha256
from ugts_dist.models.own import OwnNetwork
from ugts_dist.models.own_tiny import EdgeData

NETWORK = "network"  # its entry in a provenance
_log = logging.getLogger(__name__)


def own_entry(network: nn.Module) -> dict[str, Any]:
    """What a provenance says of a network: the code of an own one, otherwise nothing."""
    return {NETWORK: network.origin.to_json()} if isinstance(network, OwnNetwork) else {}


@dataclass(frozen=True)
class SavedOwn:
    """An own network before its code is named.

    Attributes:
        origin: as in the training.
        args: of the factory.
    """

    origin: Origin
    args: dict[str, Any]

    @classmethod
    def split(cls, config: Config, provenance: Any, path: Path) -> tuple[Config, SavedOwn]:
        """The configuration without the code, and the rest. Raises InputError for a provenance without it."""
        try:
            own = cls(Origin.from_json(provenance[NETWORK]), config.model.args)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: an own network without its origin ({error})") from None
        depth = {"model": {"depth": max(1, config.model.depth)}}
        return Config.from_dict(config.to_dict() | depth, str(path)), own

    def named(self, config: Config, factory: str, path: Path) -> Config:
        """The configuration with the code that the user names. Raises InputError if none is named."""
        if not factory:
            raise InputError(
                f"{path}: a network of your own code, {self.origin.factory} in training; name it: "
                "--factory MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION"
            )
        return config.replace({FACTORY: absolute(factory), ARGS: self.args})

    def network(self, config: Config) -> OwnNetwork:
        """A new network, with the code of `named`."""
        origin = self.origin
        edges = EdgeData(origin.edge_weight, origin.edge_attr)
        return OwnNetwork.of(config.model, origin.in_channels, origin.out_channels, config.weight_seed, edges)

    def note_other_code(self, factory: str, path: Path) -> None:
        """Print a note if the named code is not that of the training."""
        known, now = self.origin.sha256, source_sha256(factory)
        if known != now:
            _log.warning(
                f"note: {path} was found with other code: SHA-256 {known[:16] or 'unknown'} of {self.origin.factory}, "
                f"now {now[:16] or 'unknown'} of {factory}"
            )
