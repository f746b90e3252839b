"""Size and shape of the code, by package: files, lines, and the longest chain of imports within it.

python -m tests.house             # this checkout
python -m tests.house OTHER ...   # and others beside it, such as a checkout of an older version
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("ugts_dist", "tuning")


@dataclass(frozen=True)
class Room:
    """One package.

    Attributes:
        lines: of all its modules.
        longest: lines of its longest module.
        chain: modules of its longest chain of imports that stays within it, the importing one first.
    """

    name: str
    files: int
    lines: int
    longest: int
    chain: list[str]


def rooms(checkout: Path) -> list[Room]:
    """Every package of a checkout; modules outside any package below the root count as the root's own."""
    modules = {_name(path, checkout): path for root in ROOTS for path in sorted((checkout / root).rglob("*.py"))}
    imports = {name: set(_imported(path, modules)) - {name} for name, path in modules.items()}
    by_room: dict[str, list[str]] = {}
    for name in modules:
        by_room.setdefault(_room(name, modules[name]), []).append(name)
    return [_measured(room, names, modules, imports) for room, names in sorted(by_room.items())]


def _measured(room: str, names: list[str], modules: Mapping[str, Path], imports: Mapping[str, set[str]]) -> Room:
    lines = {name: len(modules[name].read_text(encoding="utf-8").splitlines()) for name in names}
    inside = {name: imports[name] & set(names) for name in names}
    chains: dict[str, list[str]] = {}
    longest = max((_longest(name, inside, chains, ()) for name in names), key=len)
    return Room(room, len(names), sum(lines.values()), max(lines.values()), longest)


def _longest(
    name: str, inside: Mapping[str, set[str]], known: dict[str, list[str]], above: tuple[str, ...]
) -> list[str]:
    """The longest chain of imports from a module on; one that comes back to itself ends there."""
    if name not in known:
        chains = [_longest(other, inside, known, (*above, name)) for other in inside[name] if other not in above]
        known[name] = [name, *max(chains, key=len, default=[])]
    return known[name]


def _imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, also within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else node.module for name in names if node.module in modules)


def _name(path: Path, checkout: Path) -> str:
    parts = path.relative_to(checkout).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(name: str, path: Path) -> str:
    parts = name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    return ".".join(package[:2])


def table(checkout: Path) -> str:
    """The packages of a checkout, and their sum."""
    by_package = rooms(checkout)
    width = max(len(room.name) for room in by_package)
    lines = [f"{'package':{width}} files lines longest  chain of imports"]
    for room in by_package:
        chain = " > ".join(name.rpartition(".")[2] for name in room.chain)
        lines.append(f"{room.name:{width}} {room.files:5} {room.lines:5} {room.longest:7}  {len(room.chain)}: {chain}")
    files, total = (sum(getattr(room, name) for room in by_package) for name in ("files", "lines"))
    return "\n".join([*lines, f"{'all':{width}} {files:5} {total:5} {max(room.longest for room in by_package):7}"])


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    for checkout in (root, *map(Path, sys.argv[1:])):
        print(table(checkout), end="\n\n")


if __name__ == "__main__":
    main()
