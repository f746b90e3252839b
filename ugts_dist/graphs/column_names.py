"""Usual names of columns in tables of nodes or edges."""

from __future__ import annotations

import re
from collections.abc import Sequence

_IDS = ("index", "id", "ids", "nodeid", "nodeids", "node", "nodes", "nid", "vertex", "vertexid")
_LABELS = ("label", "labels", "y", "class", "classes", "target", "category")
_SOURCES = ("source", "src", "from", "sourceid", "fromnodeid", "fromid", "srcid", "head", "u")
_DESTINATIONS = ("destination", "dst", "to", "target", "targetid", "tonodeid", "toid", "dstid", "dest", "tail", "v")
_WEIGHTS = ("weight", "weights", "edgeweight", "edgeweights")


def is_id(name: str) -> bool:
    """Whether a column of this name has node ids, or the row numbers that pandas calls an index."""
    return _plain(name) in _IDS or is_row_number(name)


def is_row_number(name: str) -> bool:
    """Whether pandas gives this name to an index without a name."""
    return re.fullmatch(r"|unnamed:\d+|indexlevel\d+", _plain(name)) is not None


def ends_like_id(name: str) -> bool:
    """Whether a column of this name may have ids: user_id, paperID; but not class_id."""
    like_id = re.search(r"([_\s-]id|[a-z]I[dD])$", name.strip())
    return like_id is not None and not is_label(name.strip()[:-2])


def is_label(name: str) -> bool:
    """Whether a column of this name has the classes of nodes."""
    return _plain(name) in _LABELS


def is_weight(name: str) -> bool:
    """Whether a column of this name has the weights of edges."""
    return _plain(name) in _WEIGHTS


def ends(names: Sequence[str]) -> tuple[int, int] | None:
    """The columns with sources and destinations of edges; None unless both have a usual name."""
    plain = [_plain(name) for name in names]
    source = next((column for column, name in enumerate(plain) if name in _SOURCES), None)
    destination = next((column for column, name in enumerate(plain) if name in _DESTINATIONS), None)
    return None if source is None or destination is None or source == destination else (source, destination)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
